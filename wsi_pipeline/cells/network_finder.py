"""Where the nuclei are, as a network sees them: peaks of its distance map inside what it calls nucleus.

The network looks at windows of one grid that begins at the slide's origin, with a halo as wide as its view, so that a
nucleus is the same however the slide was cut into regions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.nuclei import Nuclei, disk, grid_step, shrink, smooth, territories
from wsi_pipeline.cells.options import CellOptions
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.models.cell_network import CHANNELS, HALO_PX, MPP, UNIT_PX
from wsi_pipeline.slide.model import LevelPixels
from wsi_pipeline.slide.resample import Edges, area_mean, covering
from wsi_pipeline.stain.density import Stains, optical_density

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Takes optical density (3, H, W), gives CHANNELS (4, H, W)."""

SAME_SCALE = 0.1
"""A grid whose px differ from the network's by at most this share is shown to it as it is: it saw that in training."""

PEAK_SIGMA_UM = 0.6
"""Gaussian sigma that the distance map is smoothed with before its peaks are sought, um."""

PEAK_SPACING_UM = 2.0
"""Two peaks are at least this far apart, um: less than half the narrowest nucleus."""

EPITHELIUM_SIGMA_UM = 3.0
"""Gaussian sigma that the probability of epithelium is averaged with, um: a nucleus and what lies around it."""

LEAST_PEAK = 0.35
"""Least height of a peak, of 1 at a nucleus' core."""

STRIP_PX = 1_000_000
"""Px that the network looks at in one pass, halo included, so that its layers hold 250 MB at most."""


class View(NamedTuple):
    """How the network sees a slide: network px k covers analysis px k * ratio to (k + 1) * ratio on each axis."""

    ratio_x: float
    ratio_y: float

    def edges(self, box: Box) -> tuple[Edges, Edges]:
        """Return the borders of the px of `box` (network px) in analysis px, across and down."""
        across, down = np.arange(box.x, box.right + 1), np.arange(box.y, box.bottom + 1)
        return np.asarray(across * self.ratio_x, np.float64), np.asarray(down * self.ratio_y, np.float64)

    def seen(self, window: Box) -> Box:
        """Return the network px to be looked at to know all about `window` (analysis px)."""
        left, right = _span(window.x, window.right, self.ratio_x)
        top, bottom = _span(window.y, window.bottom, self.ratio_y)
        return Box(left, top, right - left, bottom - top)

    def needed(self, window: Box) -> Box:
        """Return the analysis px to be read to know all about `window` (analysis px)."""
        return covering(*self.edges(self.seen(window)))


def view_of(mpp: Mpp, options: CellOptions) -> View:
    """Return how the network sees analysis px of this size: on the grid of nuclei where that is near enough."""
    step = grid_step(mpp, options)
    ratios = MPP / mpp.x, MPP / mpp.y
    if all(abs(step / ratio - 1) <= SAME_SCALE for ratio in ratios):
        return View(float(step), float(step))
    return View(*ratios)


def find_nuclei_by_network(
    network: Network, rgb: NDArray[np.uint8], window: Box, white: tuple[float, float, float], stains: Stains, mpp: Mpp,
    options: CellOptions,
) -> Nuclei:  # fmt: skip
    """Find the nuclei of `window` (analysis px), whose unmixed `stains` (H, W) begin and end with it.

    `rgb`: what `View.needed` asks to be read. The nuclei come on the same grid as the classical finder's.
    """
    view, step = view_of(mpp, options), grid_step(mpp, options)
    seen, read = view.seen(window), view.needed(window)
    edges_x, edges_y = view.edges(seen)
    pixels = area_mean(LevelPixels(rgb, None), edges_x - read.x, edges_y - read.y).rgb
    shape = (window.height // step, window.width // step)
    origin = window.y // step, window.x // step
    scale = step / view.ratio_y, step / view.ratio_x
    found = _look(network, optical_density(pixels, white))
    nucleus, core, epithelium = (_placed(plane, (seen.y, seen.x), origin, shape, scale) for plane in found)
    grid_mpp = mpp.scaled(step)
    likely = _probability(nucleus)
    row, column = find_peaks(core, likely, grid_mpp)
    owner, distance = territories(row, column, shape)
    dab, hematoxylin = shrink(stains.dab, step), shrink(stains.hematoxylin, step)
    within = smooth(_probability(epithelium), EPITHELIUM_SIGMA_UM, grid_mpp)[row, column]
    return Nuclei(
        column, row, likely, hematoxylin, dab, owner, distance, step, grid_mpp, proven=True, epithelium=within
    )


def find_peaks(
    core: NDArray[np.float32], likely: NDArray[np.float32], mpp: Mpp
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of the nuclei's centres: peaks of the distance map inside what is likely nucleus."""
    height = smooth(core, PEAK_SIGMA_UM, mpp)
    top = cv2.dilate(height, disk(PEAK_SPACING_UM, mpp))
    row, column = np.nonzero((height >= top) & (height > LEAST_PEAK) & (likely > 0.5))
    return row, column


def _probability(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logistic of logits."""
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float32)


def _span(first: int, end: int, ratio: float) -> tuple[int, int]:
    """Return the network px that hold analysis px `first` to `end` with their halo, in whole units.

    One px more is taken on each side, for what lies between the middles of two px.
    """
    return (
        UNIT_PX * floor((floor(first / ratio) - 1 - HALO_PX) / UNIT_PX),
        UNIT_PX * ceil((ceil(end / ratio) + 1 + HALO_PX) / UNIT_PX),
    )


def _look(network: Network, density: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return nucleus, core and epithelium (3, H, W) of `density` (H, W, 3), strip by strip."""
    height, width = density.shape[:2]
    found = np.zeros((3, height, width), np.float32)
    channels = [CHANNELS.index(name) for name in ("nucleus", "core", "epithelium")]
    inner = height - 2 * HALO_PX
    rows = max(STRIP_PX // width - 2 * HALO_PX, 2 * HALO_PX)
    rows = UNIT_PX * ceil(inner / ceil(inner / rows) / UNIT_PX)  # strips of one height, as nearly as can be
    for top in range(0, inner, rows):
        part = slice(top, min(top + rows, inner) + 2 * HALO_PX)
        answer = network(density[part].transpose(2, 0, 1))
        inside = slice(top + HALO_PX, part.stop - HALO_PX)
        found[:, inside] = answer[channels, HALO_PX : answer.shape[1] - HALO_PX]
    return found


def _placed(
    plane: NDArray[np.float32],
    plane_at: tuple[int, int],
    origin: tuple[int, int],
    shape: tuple[int, int],
    scale: tuple[float, float],
) -> NDArray[np.float32]:
    """Return `plane`, whose first px is `plane_at` (row, column), at `shape` px from `origin` on, each `scale` px wide.

    Bilinear, with weights that follow from the place on the slide alone.
    """
    for axis in (0, 1):
        first, size = origin[axis], shape[axis]
        if scale[axis] == 1.0:
            plane = plane[(slice(None),) * axis + (slice(first - plane_at[axis], first - plane_at[axis] + size),)]
            continue
        middle = (np.arange(first, first + size) + 0.5) * scale[axis] - 0.5
        before = np.floor(middle).astype(np.int64)
        weight = (middle - before).astype(np.float32)
        weight = weight[:, np.newaxis] if axis == 0 else weight
        near, far = (np.take(plane, before - plane_at[axis] + beyond, axis=axis) for beyond in (0, 1))
        plane = near + weight * (far - near)
    return np.ascontiguousarray(plane)
