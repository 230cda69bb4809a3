"""How good virtual IHC is: likeness of pixels, agreement of DAB over tiles, and whether the HER2 class survives."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_pipeline.stain.density import StainVectors, unmix
from wsi_pipeline.training.stainer.baselines import GLASS
from wsi_pipeline.training.stainer.pairs import Pair, Pixels
from wsi_pipeline.training.stainer.similarity import ssim

MOST_PSNR = 100.0
"""Given to equal images, whose ratio is infinite, dB."""

DAB_EDGES = np.linspace(0.0, 1.0, 21)
"""Bins of the mean DAB of tiles, OD; what lies outside counts in the first and the last."""

PRIOR = 0.5
"""Added to every bin (Jeffreys), so that the divergence is finite."""

Classify = Callable[[Pixels], int | None]
"""Returns the HER2 class 0 to 3 of an IHC image (H, W, 3), or None for one that is too small."""

MEASURES = ("ssim", "psnr", "dab_pearson", "dab_kl", "label_accuracy", "label_agreement")
"""Columns of every table; what could not be measured is not a number."""


class StainScores:
    """Collects virtual and real images of one method, and says how well they agree."""

    def __init__(self, tile_px: int, classify: Classify | None = None) -> None:
        """Compare mean DAB over tiles of `tile_px`, and classes where there is something that tells them."""
        self._tile_px = tile_px
        self._classify = classify
        self._ssim: list[float] = []
        self._psnr: list[float] = []
        self._dab: tuple[list[float], list[float]] = ([], [])
        self._right: list[bool] = []
        self._agreed: list[bool] = []

    def add(self, virtual: Pixels, pair: Pair) -> None:
        """Take in the virtual IHC (H, W, 3) of a pair."""
        self._ssim.append(_ssim(virtual, pair.ihc))
        self._psnr.append(psnr(virtual, pair.ihc))
        for found, image in zip(self._dab, (virtual, pair.ihc), strict=True):
            found.extend(tile_dab(image, self._tile_px))
        if self._classify is None:
            return
        called, of_real = self._classify(virtual), self._classify(pair.ihc)
        if called is not None:
            self._agreed.append(called == of_real)
            if pair.label >= 0:
                self._right.append(called == pair.label)

    def result(self) -> dict[str, float]:
        """Return the measures by name.

        `ssim` and `psnr` (dB) are means over pairs; `dab_pearson` and `dab_kl` (nats, real against virtual) are of the
        mean DAB of tiles; `label_accuracy` is the share of virtual images that the classifier gives the label of the
        pair, `label_agreement` the share that it gives the class of the real image.
        """
        virtual, real = (np.array(values) for values in self._dab)
        values = (
            _mean(self._ssim), _mean(self._psnr), pearson(virtual, real), divergence(real, virtual),
            _mean(self._right), _mean(self._agreed),
        )  # fmt: skip
        return dict(zip(MEASURES, values, strict=True))


def psnr(first: Pixels, second: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two images (H, W, 3) uint8, dB, at most 100."""
    error = float(np.square(first.astype(np.float64) - second).mean())
    return min(10 * math.log10(255.0**2 / error), MOST_PSNR) if error else MOST_PSNR


def tile_dab(rgb: Pixels, tile_px: int) -> list[float]:
    """Return the mean DAB density, OD, of every whole tile of `rgb` (H, W, 3), or of the image where none fits."""
    dab = unmix(rgb, GLASS, StainVectors()).dab
    height, width = (max(side // tile_px, 1) for side in dab.shape)
    if min(dab.shape) < tile_px:
        return [float(dab.mean())]
    tiles = dab[: height * tile_px, : width * tile_px].reshape(height, tile_px, width, tile_px)
    means: list[float] = tiles.mean(axis=(1, 3), dtype=np.float64).ravel().tolist()
    return means


def pearson(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return the correlation of two series (N,); not a number where one of them does not vary."""
    if len(first) < 2 or not first.std() or not second.std():
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])


def divergence(real: NDArray[np.float64], virtual: NDArray[np.float64]) -> float:
    """Return the Kullback-Leibler divergence of `virtual` (N,) from `real` (N,) DAB densities, nats."""
    shares = []
    for values in (real, virtual):
        counts = np.histogram(values.clip(DAB_EDGES[0], DAB_EDGES[-1]), DAB_EDGES)[0] + PRIOR
        shares.append(counts / counts.sum())
    return float(np.sum(shares[0] * np.log(shares[0] / shares[1])))


def _ssim(first: Pixels, second: Pixels) -> float:
    """Return the structural similarity of two images (H, W, 3) uint8."""
    pair = [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] / 255 for image in (first, second)]
    with torch.inference_mode():
        return float(ssim(pair[0], pair[1])[0])


def _mean(values: list[float] | list[bool]) -> float:
    """Return the mean, or not a number."""
    return float(np.mean(values)) if values else math.nan
