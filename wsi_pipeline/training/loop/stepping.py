"""One optimiser step: mixed precision where the device has it, scaled and clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import Architecture
from wsi_pipeline.models.options import ModelOptions
from wsi_pipeline.models.runtime import Runtime, choose_runtime


def training_runtime(architecture: Architecture, device: str, precision: str) -> Runtime:
    """Return where and in which precision a network is trained; processors train in fp32 unless asked otherwise.

    Raises UsageError for a wish that cannot be fulfilled, WeightsError when torch is not installed.
    """
    options = ModelOptions.model_validate({"device": device, "precision": precision, "backend": "torch"})
    runtime = choose_runtime(architecture, options)
    if runtime.device == "cpu" and precision == "auto":
        runtime = Runtime("cpu", "fp32", "torch", "processors train in fp32")
    runtime.settle()
    return runtime


class Stepper:
    """Takes an optimiser's steps. Part of a checkpoint, for the scale of fp16 gradients."""

    def __init__(self, optimiser: torch.optim.Optimizer, runtime: Runtime, clip_norm: float) -> None:
        """Step `optimiser`; gradients longer than `clip_norm` (0: any) are shortened to it."""
        self._optimiser = optimiser
        self._runtime = runtime
        self._clip_norm = clip_norm
        self._scaler = torch.amp.GradScaler(runtime.device.partition(":")[0], enabled=runtime.precision == "fp16")

    def autocast(self) -> torch.autocast:
        """Return the context in which networks are run forward."""
        kind = self._runtime.device.partition(":")[0]
        return torch.autocast(kind, self._runtime.dtype, enabled=self._runtime.precision != "fp32")

    def step(self, loss: Tensor, network: nn.Module) -> float:
        """Take one step down `loss` and return the norm of the gradient before clipping (not finite: step skipped).

        Raises UsageError when the loss is no finite number.
        """
        if not math.isfinite(float(loss.detach())):
            raise UsageError("training", "the loss is no longer a finite number", "lower learning_rate or clip_norm")
        self._optimiser.zero_grad(set_to_none=True)
        scaled: Any = self._scaler.scale(loss)
        scaled.backward()
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self._clip_norm or math.inf)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return float(norm)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the gradient scale."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take it over."""
        self._scaler.load_state_dict(dict(state))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate
