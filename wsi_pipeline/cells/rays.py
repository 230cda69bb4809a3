"""Sampling images along rays from many nuclei at once."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Mpp

REMAP_STEPS = 32
"""cv2.remap interpolates at this many places between two px (its INTER_TAB_SIZE)."""

Profiles = NDArray[np.float32]
"""Samples (N nuclei, D directions, R radii) float32."""


@dataclass(frozen=True)
class Rays:
    """Rays from nucleus centres: D directions (clockwise from +x on screen) times R radii.

    `x`, `y`: (N,) float32, image px. `angle`: (D,) rad. `radius`: (R,) um. `mpp`: pixel size of that image.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    angle: NDArray[np.float32]
    radius: NDArray[np.float32]
    mpp: Mpp

    def sample(self, image: NDArray[np.float32], step: int = 1, *, nearest: bool = False) -> Profiles:
        """Sample `image` (h, w) whose px are `step` image px wide, bilinearly or by `nearest`, along all rays."""
        along_x = _snapped(np.outer(np.cos(self.angle), self.radius).ravel() / (self.mpp.x * step))
        along_y = _snapped(np.outer(np.sin(self.angle), self.radius).ravel() / (self.mpp.y * step))
        # a block of step px has its centre at (step - 1) / 2 of the finer grid
        origin_x = (self.x - 0.5 * (step - 1)) / step
        origin_y = (self.y - 0.5 * (step - 1)) / step
        map_x = (origin_x[:, None] + along_x[None]).astype(np.float32)
        map_y = (origin_y[:, None] + along_y[None]).astype(np.float32)
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        values = cv2.remap(image, map_x, map_y, method, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(values, dtype=np.float32).reshape(len(self.x), len(self.angle), len(self.radius))

    def outline(self, distance_um: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the polygons (N, D, 2) in image px that lie `distance_um` (N, D) from the centres."""
        x = self.x[:, None] + distance_um * np.cos(self.angle)[None] / self.mpp.x
        y = self.y[:, None] + distance_um * np.sin(self.angle)[None] / self.mpp.y
        return np.stack([x, y], axis=-1).astype(np.float32)


def _snapped(px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places rounded to what remap resolves, so that adding any whole or half px to them is exact.

    Otherwise a cell's samples would depend, by the rounding of float32, on where in its region it lies.
    """
    return np.asarray(np.rint(px * REMAP_STEPS) / REMAP_STEPS)


def circular_smooth(values: Profiles, weights: tuple[float, ...]) -> Profiles:
    """Filter (N, D, ...) along directions with odd-length `weights`, wrapping around."""
    half = len(weights) // 2
    result = np.zeros_like(values)
    for offset, weight in enumerate(weights):
        result += np.float32(weight) * np.roll(values, offset - half, axis=1)
    return result
