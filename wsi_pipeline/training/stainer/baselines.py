"""What a stainer must beat: the H&E itself, and the best linear map between optical densities."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.stain.density import optical_density
from wsi_pipeline.training.stainer.pairs import Pair, Pixels

GLASS = (255.0, 255.0, 255.0)
"""I0 of every measure here, real and virtual alike: single tiles seldom show glass to measure it on."""


class LinearStain:
    """Optical density of IHC as a linear function of that of H&E, pixel by pixel: 3 x 3 and an offset."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        """Take the (4, 3) matrix: rows R, G, B of the H&E and the offset, columns R, G, B of the IHC."""
        self.matrix = matrix

    @classmethod
    def fit(cls, training: Iterable[Pair]) -> LinearStain:
        """Return the least-squares fit over all pixels of the pairs. Raises UsageError when there are none."""
        squares, products = np.zeros((4, 4)), np.zeros((4, 3))
        for pair in training:
            given = _with_ones(pair.he)
            squares += given.T @ given
            products += given.T @ optical_density(pair.ihc, GLASS).reshape(-1, 3).astype(np.float64)
        if not squares[3, 3]:
            raise UsageError("linear stain transfer", "has no training pair to be fitted on")
        return cls(np.asarray(np.linalg.lstsq(squares, products, rcond=None)[0], dtype=np.float64))

    def __call__(self, he: Pixels) -> Pixels:
        """Return the stained image (H, W, 3) uint8 of `he`, same shape."""
        od = _with_ones(he) @ self.matrix
        grey = np.clip(255.0 * 10.0 ** -np.maximum(od, 0.0), 0, 255)
        return np.asarray(np.rint(grey), dtype=np.uint8).reshape(he.shape)


def identity(he: Pixels) -> Pixels:
    """Return the H&E as if it were IHC."""
    return he


def _with_ones(he: Pixels) -> NDArray[np.float64]:
    """Return optical densities (N, 3) of all pixels and a column of ones."""
    od = optical_density(he, GLASS).reshape(-1, 3).astype(np.float64)
    return np.column_stack([od, np.ones(len(od))])
