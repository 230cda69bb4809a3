"""A tile classifier's head without torch: logits of pooled features, and what spoke for each ordinal margin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

EVALUATIONS = 32
"""How often the head is evaluated between glass and a tile: the sum is then exact to 1e-4 logits (tests)."""


def _gauss_legendre() -> tuple[Values, Values]:
    """Return places between 0 and 1, and their weights, by which integrals over that way are sums."""
    places, weights = np.polynomial.legendre.leggauss(EVALUATIONS)
    return (0.5 + 0.5 * places).astype(np.float32), (0.5 * weights).astype(np.float32)


PLACES, WEIGHTS = _gauss_legendre()


class Head(NamedTuple):
    """Three linear layers with SiLU between them; normalisation is folded in, dropout does nothing in use.

    `weights`: (hidden, C), (hidden, hidden), (4, hidden); `biases`: (hidden,), (hidden,), (4,).
    """

    weights: tuple[Values, ...]
    biases: tuple[Values, ...]

    def logits(self, pooled: Values) -> Values:
        """Return the logits (B, 4) float32 of pooled features (B, C)."""
        return self._forward(pooled)[-1]

    def margins(self, pooled: Values) -> Values:
        """Return the ordinal margins (B, 3) of pooled features (B, C): logit k minus logit k - 1."""
        return np.asarray(np.diff(self.logits(pooled)), np.float32)

    def path_gradients(self, pooled: Values, glass: Values) -> Values:
        """Return d margin / d pooled averaged over the straight way from `glass` (C,) to `pooled` (B, C): (B, 3, C).

        The first layer is linear along the way, so only what lies between the first two SiLU is evaluated at each of
        the places.
        """
        into, between, last = self.weights
        start, end = (each @ into.T + self.biases[0] for each in (glass[np.newaxis], pooled))
        first = np.asarray(start + PLACES[:, np.newaxis, np.newaxis] * (end - start), np.float32)
        second = np.asarray((first * _sigmoid(first)) @ between.T + self.biases[1], np.float32)
        scaled = (last[1:] - last[:-1]) * _silu_slope(second)[:, :, np.newaxis]
        rows = scaled.reshape(-1, between.shape[0]) @ between  # one product, much quicker than one for each tile
        back = rows.reshape(*scaled.shape[:3], between.shape[1])
        averaged = np.einsum("n,nbkh,nbh->bkh", WEIGHTS, back, _silu_slope(first), optimize=True)
        found = averaged.reshape(-1, into.shape[0]) @ into
        return np.asarray(found, np.float32).reshape(*averaged.shape[:2], into.shape[1])

    def _forward(self, pooled: Values) -> list[Values]:
        """Return what the three layers give before anything else is done with it."""
        given, found = pooled, []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found.append(given @ weight.T + bias)
            given = found[-1] * _sigmoid(found[-1])
        return found


def head_maps(head: Head, features: Values, glass: Values) -> Values:
    """Return a map of each ordinal margin, (B, 3, h, w) float32, logits, of `features` (B, C, h, w).

    `glass`: the pooled features (C,) of a white tile. The same as `explain.cam.MarginMaps`, which says what they mean.
    """
    tiles, channels, height, width = features.shape
    flat = features.reshape(tiles, channels, height * width)
    gradients = head.path_gradients(flat.mean(axis=2), glass)
    rest = head.margins(glass[np.newaxis]) - gradients @ glass
    maps = gradients @ flat + rest[:, :, np.newaxis]
    return maps.reshape(tiles, gradients.shape[1], height, width)


def _sigmoid(values: Values) -> Values:
    """Return the logistic function; of large negative values too, without overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), np.float32)


def _silu_slope(values: Values) -> Values:
    """Return the derivative of x sigmoid(x)."""
    sigmoid = _sigmoid(values)
    return np.asarray(sigmoid * (1 + values * (1 - sigmoid)), np.float32)
