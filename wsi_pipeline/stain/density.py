"""Optical density and hematoxylin/DAB unmixing (Beer-Lambert), whole regions at a time.

OD = -log10(I / I0) with I0 from the slide's own glass. Stain vectors (R, G, B) after Ruifrok and Johnston 2001,
"Quantification of histochemical staining by color deconvolution", as used by QuPath for H-DAB; the third, residual
direction is their cross product, so that nothing is explained by an eosin that is not there.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Vector = tuple[float, float, float]

STRIP_ROWS = 32
"""Rows unmixed at a time, so that the intermediate floats stay in the processor's cache."""


class StainVectors(BaseModel):
    """Absorption of each stain in R, G, B (any length; normalised before use)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hematoxylin: Vector = Field((0.65, 0.70, 0.29), description="Ruifrok and Johnston 2001")
    dab: Vector = Field((0.27, 0.57, 0.78), description="Ruifrok and Johnston 2001")

    def unmixing_matrix(self) -> NDArray[np.float32]:
        """Return the (2, 3) float32 matrix that takes (R, G, B) OD to (hematoxylin, DAB) OD."""
        pair = np.array([self.hematoxylin, self.dab], dtype=np.float64)
        pair /= np.linalg.norm(pair, axis=1, keepdims=True)
        residual = np.cross(pair[0], pair[1])
        residual /= np.linalg.norm(residual)
        return np.linalg.inv(np.vstack([pair, residual]).T)[:2].astype(np.float32)


class Stains(NamedTuple):
    """Unmixed stain densities of an image: two (H, W) float32 arrays in OD; slightly negative on glass."""

    hematoxylin: NDArray[np.float32]
    dab: NDArray[np.float32]


def density_table(white: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return OD for every grey level and channel, (1, 256, 3) float32; level 0 counts as 1, above white is 0."""
    levels = np.maximum(np.arange(256, dtype=np.float64), 1.0)[:, None]
    table = np.maximum(-np.log10(levels / np.asarray(white, dtype=np.float64)), 0.0)
    return table.astype(np.float32)[None]


def optical_density(rgb: NDArray[np.uint8], white: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return OD of `rgb` (H, W, 3) uint8 against the glass colour `white` (R, G, B grey levels), same shape."""
    return np.asarray(cv2.LUT(np.ascontiguousarray(rgb), density_table(white)), dtype=np.float32)


def unmix(rgb: NDArray[np.uint8], white: tuple[float, float, float], vectors: StainVectors) -> Stains:
    """Separate `rgb` (H, W, 3) uint8 into hematoxylin and DAB density (OD) by linear unmixing."""
    table, matrix = density_table(white), vectors.unmixing_matrix()
    hematoxylin = np.empty(rgb.shape[:2], np.float32)
    dab = np.empty(rgb.shape[:2], np.float32)
    for top in range(0, rgb.shape[0], STRIP_ROWS):
        strip = slice(top, top + STRIP_ROWS)
        mixed = cv2.transform(cv2.LUT(rgb[strip], table), matrix)
        hematoxylin[strip], dab[strip] = mixed[..., 0], mixed[..., 1]
    return Stains(hematoxylin, dab)
