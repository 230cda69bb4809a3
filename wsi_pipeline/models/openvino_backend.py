"""OpenVINO runs the classifiers' trunks on processors, three times as fast as torch in fp32.

Only the trunk is converted: its features go back to torch, where the small head works in fp32, so that logits and
class activation maps come from the same numbers whatever ran the trunk.
"""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.options import Precision

HINTS: dict[str, str] = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of our precisions on processors."""


def processor_precisions() -> frozenset[Precision]:
    """Return the precisions in which OpenVINO computes on this processor."""
    capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"fp32", "bf16"}) if "BF16" in capabilities else frozenset({"fp32"})


class OpenvinoTrunk:
    """A compiled trunk that takes batches of one size: (B, 3, H, W) to (B, C, h, w), float32."""

    def __init__(self, trunk: nn.Module, shape: tuple[int, int, int, int], precision: Precision, threads: int) -> None:
        """Convert `trunk` (eval, fp32, CPU) in memory for inputs of `shape`, one stream on `threads` threads.

        Raises UsageError when OpenVINO would compute in another precision.
        """
        openvino = _openvino()
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # torch's notes on tracing, by which OpenVINO reads networks
            jit: Any = torch.jit  # its functions have no types
            # traced here, since OpenVINO has torch run the trunk three times to see that it traced it well
            traced = jit.trace(trunk, torch.zeros(1, *shape[1:]), check_trace=False)
            model = openvino.convert_model(traced, input=list(shape))
        # pinned, the single threads of all workers would share the first core
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if got != HINTS[precision]:
            raise UsageError(f"precision {precision}", f"OpenVINO computes in {got}", "use precision auto")
        self._request: Any = compiled.create_infer_request()
        self._turn = threading.Lock()  # a request serves one thread at a time, and its memory is used again

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features of one batch."""
        values = inputs.contiguous().numpy()
        with self._turn:
            features = self._request.infer([values], share_inputs=True, share_outputs=True)[0]
            return torch.from_numpy(np.array(features))


def _openvino() -> Any:
    """Return OpenVINO, kept from reporting its use to its makers: nothing here talks to the network."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import that is refused
    import openvino  # noqa: PLC0415

    return openvino
