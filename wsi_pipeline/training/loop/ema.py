"""Exponential moving average of a network's weights: a smoother network than any single step leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Ema:
    """A copy of a network that follows it slowly; buffers (statistics of normalisation) are averaged too."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Start from `network` as it is. `decay`: weight of the past in every step, 0 (no average) to below 1."""
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        """The averaged network, in eval and without gradients, on the device of the original."""
        self._decay = decay
        self._steps = 0

    def update(self, network: nn.Module) -> None:
        """Take one step towards `network`.

        The first steps count more, min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage, so that
        the random start is forgotten.
        """
        weight = 1.0 - min(self._decay, (1 + self._steps) / (10 + self._steps)) if self._decay else 1.0
        self._steps += 1
        theirs = network.state_dict()
        with torch.no_grad():
            for name, mine in self.network.state_dict().items():
                if mine.is_floating_point():
                    mine.lerp_(theirs[name].to(mine.dtype), weight)
                else:
                    mine.copy_(theirs[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and how many steps they have seen."""
        return {"network": self.network.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take both over. Raises RuntimeError when the weights are of another network."""
        self.network.load_state_dict(state["network"])
        self._steps = int(state["steps"])
