"""A tile classifier's head without torch: logits of pooled features, and the gradients of the ordinal margins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


class Head(NamedTuple):
    """Three linear layers with SiLU between them; normalisation is folded in, dropout does nothing in use.

    `weights`: (hidden, C), (hidden, hidden), (4, hidden); `biases`: (hidden,), (hidden,), (4,).
    """

    weights: tuple[Values, ...]
    biases: tuple[Values, ...]

    def logits(self, pooled: Values) -> Values:
        """Return the logits (B, 4) float32 of pooled features (B, C)."""
        return self._forward(pooled)[-1]

    def margin_gradients(self, pooled: Values) -> Values:
        """Return d margin / d pooled, (B, 3, C) float32, of pooled features (B, C).

        Margin k - 1 is logit k minus logit k - 1.
        """
        first, second, _ = self._forward(pooled)
        last = self.weights[2]
        gradients: Values = np.broadcast_to(last[1:] - last[:-1], (len(pooled), len(last) - 1, last.shape[1]))
        for given, weight in ((second, self.weights[1]), (first, self.weights[0])):
            scaled = gradients * _silu_slope(given)[:, np.newaxis]
            rows = scaled.reshape(len(pooled) * (len(last) - 1), len(weight))
            product = rows @ weight  # one product, much quicker than one for each tile
            gradients = np.asarray(product, np.float32).reshape(len(pooled), len(last) - 1, weight.shape[1])
        return gradients

    def _forward(self, pooled: Values) -> list[Values]:
        """Return what the three layers give before anything else is done with it."""
        given, found = pooled, []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found.append(given @ weight.T + bias)
            given = found[-1] * _sigmoid(found[-1])
        return found


def head_cams(head: Head, features: Values) -> Values:
    """Return Grad-CAM of each ordinal margin, (B, 3, h, w) float32, logits, of `features` (B, C, h, w).

    The same as `explain.cam.margin_cams`, which says what they mean.
    """
    tiles, channels, height, width = features.shape
    flat = features.reshape(tiles, channels, height * width)
    gradients = head.margin_gradients(flat.mean(axis=2))
    return (gradients @ flat).reshape(tiles, gradients.shape[1], height, width)


def _sigmoid(values: Values) -> Values:
    """Return the logistic function; of large negative values too, without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), np.float32)


def _silu_slope(values: Values) -> Values:
    """Return the derivative of x sigmoid(x)."""
    sigmoid = _sigmoid(values)
    return np.asarray(sigmoid * (1 + values * (1 - sigmoid)), np.float32)
