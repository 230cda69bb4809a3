"""Cells drawn straight into stain densities, with a membrane whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.density import Stains


@dataclass
class Canvas:
    """Densities of `width` x `height` px at `mpp`; cells are drawn at sub-pixel places in px (centres at whole px)."""

    width: int = 613
    height: int = 389
    mpp: Mpp = field(default_factory=lambda: Mpp(0.25, 0.26))
    blur_um: float = 0.2
    hematoxylin: np.ndarray = field(init=False)
    dab: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.hematoxylin = np.zeros((self.height, self.width))
        self.dab = np.zeros((self.height, self.width))

    def _polar(self, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.mgrid[: self.height, : self.width]
        dx, dy = (columns - x) * self.mpp.x, (rows - y) * self.mpp.y
        return np.hypot(dx, dy), np.mod(np.arctan2(dy, dx), 2 * np.pi)

    def nucleus(self, x: float, y: float, radius_um: float = 3.4, od: float = 0.35) -> None:
        away, _ = self._polar(x, y)
        self.hematoxylin = np.maximum(self.hematoxylin, od * (away < radius_um))

    def spindle(self, x: float, y: float, half_um: tuple[float, float], od: float = 0.4) -> None:
        rows, columns = np.mgrid[: self.height, : self.width]
        dx, dy = (columns - x) * self.mpp.x, (rows - y) * self.mpp.y
        self.hematoxylin = np.maximum(self.hematoxylin, od * ((dx / half_um[0]) ** 2 + (dy / half_um[1]) ** 2 < 1))

    def membrane(
        self, x: float, y: float, *, od: float, share: float = 1.0, width_um: float = 1.2, at_um: float = 5.5
    ) -> None:
        away, angle = self._polar(x, y)
        self.dab = np.maximum(self.dab, od * (np.abs(away - at_um) < width_um / 2) * (angle < 2 * np.pi * share))

    def blob(self, x: float, y: float, radius_um: float, od: float) -> None:
        away, _ = self._polar(x, y)
        self.dab = np.maximum(self.dab, od * (away < radius_um))

    def stains(self, noise: float = 0.004) -> Stains:
        generator = np.random.default_rng(3)
        sigma = (self.blur_um / self.mpp.y, self.blur_um / self.mpp.x)
        planes = (
            gaussian_filter(plane, sigma) + generator.normal(0, noise, plane.shape)
            for plane in (self.hematoxylin, self.dab)
        )
        return Stains(*(plane.astype(np.float32) for plane in planes))


@pytest.fixture
def canvas() -> Canvas:
    """Return an empty canvas, neither square nor a multiple of the grid step, with unequal pixel sides."""
    return Canvas(width=614, height=390)


@pytest.fixture(scope="session")
def crowd() -> tuple[Stains, Mpp]:
    """Return a field of packed cells of all classes, larger than two halos."""
    canvas = Canvas(width=1208, height=904, mpp=Mpp(0.5, 0.52))
    generator = np.random.default_rng(11)
    for number, (row, column) in enumerate(np.ndindex(33, 44)):
        x = 20 + 26.5 * column + (row % 2) * 12 + generator.uniform(-2, 2)
        y = 22 + 26 * row + generator.uniform(-2, 2)
        reach = slice(max(int(y) - 30, 0), int(y) + 30), slice(max(int(x) - 30, 0), int(x) + 30)
        small = Canvas(width=reach[1].stop - reach[1].start, height=reach[0].stop - reach[0].start, mpp=canvas.mpp)
        small.nucleus(x - reach[1].start, y - reach[0].start, radius_um=generator.uniform(2.8, 3.6))
        od, share = ((0, 0), (0.2, 0.45), (0.5, 1.0), (0.6, 0.5), (1.1, 1.0))[number % 5]
        if od:
            small.membrane(x - reach[1].start, y - reach[0].start, od=od, share=share)
        height, width = canvas.dab[reach].shape
        canvas.dab[reach] = np.maximum(canvas.dab[reach], small.dab[:height, :width])
        canvas.hematoxylin[reach] = np.maximum(canvas.hematoxylin[reach], small.hematoxylin[:height, :width])
    return canvas.stains(), canvas.mpp
