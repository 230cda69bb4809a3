"""What runs a network: device, precision and backend, chosen once, said with the reason, and never changed silently.

A Runtime is small and picklable, and neither this module nor a choice imports torch. The choices rest on the
measurements in docs/performance.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wsi_pipeline.errors import UsageError
from wsi_pipeline.installation import install_line
from wsi_pipeline.models.extra import require_models_extra
from wsi_pipeline.models.machine import cuda_capabilities, openvino_precisions, processor_has_bf16
from wsi_pipeline.models.manifest import CLASSIFIERS, Architecture
from wsi_pipeline.models.options import Backend, ModelOptions, Precision

if TYPE_CHECKING:
    import torch

BF16_COMPUTE_CAPABILITY = 8
"""First NVIDIA generation that multiplies in bf16 (Ampere; CUDA C++ Programming Guide, "Compute Capabilities")."""

PROCESSOR_BATCH = 4
"""Tiles in a batch on processors: larger ones leave the cache and are slower (docs/performance.md)."""

OPENVINO_BATCH = 2
"""The same in OpenVINO, where 1, 2 and 4 are equally quick; a region's last batch is filled up to this."""

FP32_REASON = "bf16 changes this trunk's features by 12 %"
"""Of their spread; EfficientNet-Lite0 with ImageNet weights, docs/performance.md."""


@dataclass(frozen=True)
class Runtime:
    """How one network is run. `device` is "cpu" or "cuda:N"; `why` says in plain words what decided."""

    device: str = "cpu"
    precision: Precision = "fp32"
    backend: Backend = "torch"
    why: str = "the plain form"

    def describe(self) -> dict[str, str]:
        """Return field -> value, for records."""
        return asdict(self)

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of this precision."""
        import torch  # noqa: PLC0415 - the choice itself needs none

        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def settle(self) -> None:
        """Make torch compute in the precision that was said: without it fp32 convolutions on CUDA are TF32."""
        if self.device == "cpu" or self.precision != "fp32":
            return
        import torch  # noqa: PLC0415

        backends: Any = torch.backends
        backends.cudnn.conv.fp32_precision = "ieee"
        backends.cuda.matmul.fp32_precision = "ieee"


def choose_runtime(architecture: Architecture, options: ModelOptions) -> Runtime:
    """Return how a network of this architecture is run on this machine.

    Raises UsageError for a wish that cannot be fulfilled, WeightsError when torch is not installed.
    """
    require_models_extra()
    classifies = architecture in CLASSIFIERS
    device, reason = _device(options, classifies=classifies)
    if device != "cpu":
        return _on_cuda(architecture, options, device, reason)
    if options.precision == "fp16":
        raise UsageError("precision fp16", "needs a CUDA device, and the network would run on cpu", "use bf16 or fp32")
    backend, backend_reason = _backend(options, classifies=classifies)
    precision, precision_reason = _cpu_precision(architecture, options, backend)
    return Runtime("cpu", precision, backend, "; ".join((reason, backend_reason, precision_reason)))


def cuda_numbers(options: ModelOptions) -> tuple[int, ...]:
    """Return the CUDA devices that a run may spread its work over: all of them, or the one that was asked for."""
    if options.device == "auto":
        return tuple(range(len(cuda_capabilities())))
    return (int(options.device.partition(":")[2] or 0),)


def _device(options: ModelOptions, *, classifies: bool) -> tuple[str, str]:
    """Return "cpu" or "cuda:N", and the reason."""
    wanted = options.device
    if wanted == "cpu":
        return "cpu", "cpu was asked for"
    count = len(cuda_capabilities())
    if wanted == "auto":
        if options.backend == "openvino" and classifies:
            return "cpu", "OpenVINO runs on processors"
        return ("cuda:0", "CUDA is there") if count else ("cpu", "no CUDA device")
    if options.backend == "openvino":
        raise UsageError(f"device {wanted}", "backend openvino runs on processors", "use device cpu or backend torch")
    number = int(wanted.partition(":")[2] or 0)
    if number >= count:
        raise UsageError(f"device {wanted}", f"torch finds {count} CUDA devices", "use device auto or cpu")
    return f"cuda:{number}", f"{wanted} was asked for"


def _on_cuda(architecture: Architecture, options: ModelOptions, device: str, reason: str) -> Runtime:
    """Return the runtime on a CUDA device: bf16, or fp16 where the device has none or the network needs the bits."""
    has_bf16 = cuda_capabilities()[int(device.partition(":")[2])] >= BF16_COMPUTE_CAPABILITY
    if options.precision == "bf16" and not has_bf16:
        raise UsageError("precision bf16", f"{device} does not compute in bf16", "use fp16 or fp32")
    if options.precision != "auto":
        return Runtime(device, options.precision, "torch", f"{reason}; {options.precision} was asked for")
    if not has_bf16:
        return Runtime(device, "fp16", "torch", f"{reason}; it has no bf16")
    if architecture == "ihcnet-light":
        return Runtime(device, "fp16", "torch", f"{reason}; {FP32_REASON}, fp16 by 2 %")
    return Runtime(device, "bf16", "torch", f"{reason}, with bf16")


def _backend(options: ModelOptions, *, classifies: bool) -> tuple[Backend, str]:
    """Return what runs a network on the processor, and the reason."""
    if not classifies:
        return "torch", "generators run on torch"
    if options.backend == "torch":
        return "torch", "torch was asked for"
    there = openvino_precisions()
    if options.backend == "openvino":
        if not there:
            raise UsageError("backend openvino", "is not installed", f"type: {install_line('openvino')}")
        return "openvino", "OpenVINO was asked for"
    if not there:
        return "torch", "OpenVINO is not installed"
    if options.precision in there or options.precision == "auto":
        return "openvino", "OpenVINO is installed and quicker"
    return "torch", f"OpenVINO has no {options.precision} on this processor"


def _cpu_precision(architecture: Architecture, options: ModelOptions, backend: Backend) -> tuple[Precision, str]:
    """Return the precision on the processor, and the reason."""
    openvino = backend == "openvino"
    has_bf16 = "bf16" in openvino_precisions() if openvino else processor_has_bf16()
    if options.precision != "auto":
        if openvino and options.precision == "bf16" and not has_bf16:
            raise UsageError("precision bf16", "OpenVINO has none on this processor", "use fp32 or backend torch")
        return options.precision, f"{options.precision} was asked for"
    if architecture == "ihcnet-light":
        return "fp32", FP32_REASON
    return ("bf16", "the processor has bf16") if has_bf16 else ("fp32", "the processor has no bf16")
