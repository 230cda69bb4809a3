"""A cell-free measure of membranes to hold the product against: how much of the tissue lies on ridges of DAB density.

A membrane is a line of DAB: along it density hardly changes, across it density falls on both sides. Brown cytoplasm
and nuclei are blobs, which fall in all directions. The index knows neither cells nor tumour nor the 10 % rule.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.scoring.agreement import weighted_kappa
from wsi_pipeline.stain.density import StainVectors, unmix

INDEX_MPP = 0.5
"""um/px at which ridges are sought."""

SIGMAS_PX = (1.0, 1.8)
"""Gaussian scales, px at INDEX_MPP: walls of 1 and 2 um."""

ON_RIDGE = 0.04
"""Ridge strength, OD, from which a px counts as membrane."""

CLASSES = 4


class Ridges(NamedTuple):
    """The index of one picture."""

    share: float
    """Share of the tissue with a ridge strength above ON_RIDGE, 0-1."""
    q95: float
    """95th percentile of the ridge strength over tissue, OD."""


def ridge_strength(dab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the strength (H, W), OD, of bright lines in DAB density (H, W) at INDEX_MPP; 0 for blobs and valleys.

    The curvature across the line less that along it, by the eigenvalues of the scale-normalised Hessian.
    """
    best = np.zeros_like(dab)
    for sigma in SIGMAS_PX:
        smooth = cv2.GaussianBlur(dab, (0, 0), sigma)
        xx, yy, xy = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3) for order in ((2, 0), (0, 2), (1, 1)))
        xx, yy, xy = xx / 4, yy / 4, xy / 4  # Sobel's kernels of size 3 weigh by 4
        middle, apart = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
        across, along = middle - apart, middle + apart
        strength = np.maximum(-across, 0) - np.maximum(-along, 0)
        np.maximum(best, strength * sigma**2, out=best)
    return best


def ridge_index(
    rgb: NDArray[np.uint8], mpp: float, white: tuple[float, float, float], tissue: NDArray[np.bool_]
) -> Ridges:
    """Return the index of `rgb` (H, W, 3) uint8 of `mpp` um/px over `tissue` (H, W), given the glass `white`."""
    scale = mpp / INDEX_MPP
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    inside = cv2.resize(tissue.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
    strength = ridge_strength(np.maximum(unmix(small, white, StainVectors()).dab, 0))[inside]
    if strength.size == 0:
        return Ridges(0.0, 0.0)
    return Ridges(float((strength > ON_RIDGE).mean()), float(np.quantile(strength, 0.95)))


def best_cuts(
    values: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[float, ...]:
    """Return the three rising cut-offs between classes that give the highest weighted kappa on N pictures.

    All triples of midpoints between neighbouring values are tried; of equal ones the middle of the first run counts.
    """
    levels = np.unique(values)
    middles = (levels[1:] + levels[:-1]) / 2
    best, found = -np.inf, (np.nan,) * 3
    for cuts in combinations(middles, 3):
        score = np.searchsorted(np.array(cuts), values)
        kappa = float(weighted_kappa(confusion(labels, score, weights), 2))
        if kappa > best + 1e-9:
            best, found = kappa, cuts
    return tuple(float(cut) for cut in found)


def confusion(
    labels: NDArray[np.int64], scores: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the confusion matrix (4, 4), labels by row, with each picture counted by its weight."""
    matrix = np.zeros((CLASSES, CLASSES))
    np.add.at(matrix, (labels, scores), weights)
    return matrix
