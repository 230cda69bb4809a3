"""OpenVINO computes networks on processors, three times as fast as torch in fp32. Nothing here needs torch."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.options import Precision

HINTS: dict[str, str] = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of our precisions on processors."""


def processor_precisions() -> frozenset[Precision]:
    """Return the precisions in which OpenVINO computes on this processor."""
    capabilities = openvino_module().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return frozenset({"fp32", "bf16"}) if "BF16" in capabilities else frozenset({"fp32"})


class CompiledNetwork:
    """A network that takes arrays of one shape and gives one array, float32."""

    def __init__(self, model: Any, precision: Precision) -> None:
        """Compile `model` (an OpenVINO model, or the path of one) for one stream on one thread.

        Raises UsageError when OpenVINO would compute in another precision.
        """
        # pinned, the single threads of all workers would share the first core
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision], "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }  # fmt: skip
        core = openvino_module().Core()
        read = core.read_model(model) if isinstance(model, Path) else model
        compiled = core.compile_model(read, "CPU", settings)
        got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if got != HINTS[precision]:
            raise UsageError(f"precision {precision}", f"OpenVINO computes in {got}", "use precision auto")
        self._request: Any = compiled.create_infer_request()
        self._turn = threading.Lock()  # a request serves one thread at a time, and its memory is used again

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network gives, in memory of its own."""
        with self._turn:
            given = self._request.infer([inputs], share_inputs=True, share_outputs=True)[0]
            return np.array(given, np.float32)


def openvino_module() -> Any:
    """Return OpenVINO, kept from reporting its use to its makers: nothing here talks to the network."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import that is refused
    import openvino  # noqa: PLC0415

    return openvino
