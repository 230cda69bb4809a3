"""Temperature scaling (Guo et al. 2017), folded into the last layer so that the plain network is calibrated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

COLDEST, HOTTEST = 0.05, 20.0
"""Temperatures that are tried."""

NARROWINGS = 50
"""Steps of the search; each leaves 0.618 of the range, so the last is far below what matters."""

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def log_probabilities(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return log softmax of `logits` (N, K) / `temperature`, same shape."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    return np.asarray(scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the temperature of least cross entropy for `logits` (N, K), between COLDEST and HOTTEST.

    As in Platt 1999 a share of 1 / (N + 2) of every label goes to the other classes, so that a few tiles without
    an error do not ask for certainty. Cross entropy is convex in 1 / T, so golden-section search finds its one valley.
    """
    tiles, classes = logits.shape
    share = 1.0 / (tiles + 2.0)
    targets = np.full((tiles, classes), share / (classes - 1))
    targets[np.arange(tiles), labels] = 1.0 - share

    def cost(log_temperature: float) -> float:
        return -float((targets * log_probabilities(logits, math.exp(log_temperature))).sum())

    low, high = math.log(COLDEST), math.log(HOTTEST)
    for _ in range(NARROWINGS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def fold_temperature(state: Mapping[str, Tensor], temperature: float) -> dict[str, Tensor]:
    """Return a classifier's state dict whose logits are divided by `temperature`: its last layer is.

    Exact but for the rounding of the divided weights.
    """
    last = max(int(name.split(".")[1]) for name in state if name.startswith("classifier."))
    return {
        name: (tensor.double() / temperature).to(tensor.dtype) if name.startswith(f"classifier.{last}.") else tensor
        for name, tensor in state.items()
    }
