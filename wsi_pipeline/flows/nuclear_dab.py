"""How much of a slide's DAB lies in nuclei: counted per piece of tissue, region by region or in a few places."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.nuclei import Nuclei
from wsi_pipeline.flows.survey import Survey, tissue_patches
from wsi_pipeline.geometry import Box, Mpp, ceil_div
from wsi_pipeline.slide import Slide
from wsi_pipeline.stain.compartment import NuclearStainOptions, StainedArea, find_bodies, smoothed
from wsi_pipeline.stain.density import StainVectors, unmix
from wsi_pipeline.tiling import Grid

ANYWHERE = 0
"""Number of the piece where only a few places of the slide were looked at."""

StainedColumns = dict[str, NDArray[np.float64]]
"""Columns NAMES, one row per piece of tissue."""

NAMES = ("piece", "bodies", "body_um2", "stained_um2")


def stained_by_piece(
    nuclei: Nuclei, core: Box, piece: NDArray[np.uint16], map_px: int, options: NuclearStainOptions
) -> StainedColumns:
    """Return a row (NAMES) for each piece of tissue in `core` (px of the measured image).

    `piece` (h, w): number of the piece at each map px, 0 where nothing counts. A body counts where its centre lies.
    """
    density = smoothed(nuclei.dab, nuclei.mpp)
    bodies = find_bodies(density, nuclei.mpp, options)
    x, y = (place * nuclei.step + 0.5 * (nuclei.step - 1) for place in (bodies.x, bodies.y))
    inside = (x >= core.x) & (x < core.right) & (y >= core.y) & (y < core.bottom)
    column, row = (((x - core.x)[inside] // map_px).astype(int), ((y - core.y)[inside] // map_px).astype(int))
    owner = piece[np.minimum(row, piece.shape[0] - 1), np.minimum(column, piece.shape[1] - 1)]
    grid = Box(
        core.x // nuclei.step, core.y // nuclei.step, *(ceil_div(side * map_px, nuclei.step) for side in piece.T.shape)
    )
    stained = _stained_share(density, grid, piece.T.shape, options.stained_od)
    px_um2 = nuclei.mpp.x * nuclei.mpp.y * (map_px / nuclei.step) ** 2
    numbers = np.unique(piece[piece > 0])
    area = bodies.area_um2[inside]
    rows = [
        (number, (owner == number).sum(), area[owner == number].sum(), px_um2 * stained[piece == number].sum())
        for number in numbers
    ]
    return dict(zip(NAMES, np.array(rows, dtype=np.float64).reshape(-1, len(NAMES)).T, strict=True))


def _stained_share(
    density: NDArray[np.float32], core: Box, size_map: tuple[int, ...], stained_od: float
) -> NDArray[np.float32]:
    """Return the share of each map px of `core` (px of `density`) that is stained, (h, w) 0-1; `size_map` is (w, h)."""
    part = density[core.y : core.bottom, core.x : core.right]
    stained = (part > stained_od).astype(np.float32)
    return np.asarray(cv2.resize(stained, size_map, interpolation=cv2.INTER_AREA), dtype=np.float32)


def stained_in_places(
    slide: Slide, grid: Grid, survey: Survey, vectors: StainVectors, options: NuclearStainOptions
) -> StainedColumns:
    """Return one row (NAMES) for the places at which the survey looked closely, where no cells are measured.

    `grid`: whole px of the slide.
    """
    total = np.zeros(len(NAMES))
    total[0] = ANYWHERE
    for rgb in tissue_patches(slide, grid, survey.within, survey.downsample):
        dab, mpp = _halved(unmix(rgb, survey.white.rgb, vectors).dab, grid.mpp)
        density = smoothed(dab, mpp)
        bodies = find_bodies(density, mpp, options)
        stained = float((density > options.stained_od).sum()) * mpp.x * mpp.y
        total[1:] += len(bodies.x), bodies.area_um2.sum(), stained
    return dict(zip(NAMES, total[:, None], strict=True))


def _halved(dab: NDArray[np.float32], mpp: Mpp) -> tuple[NDArray[np.float32], Mpp]:
    """Return DAB at about the pixel size at which nuclei are sought: half as fine, but for coarse slides."""
    if max(mpp) > 0.36:
        return dab, mpp
    size = (dab.shape[1] // 2, dab.shape[0] // 2)
    return np.asarray(cv2.resize(dab, size, interpolation=cv2.INTER_AREA), dtype=np.float32), mpp.scaled(2)


def joined_area(dab: StainedColumns, pieces: tuple[int, ...]) -> StainedArea:
    """Return what is stained in `pieces`, or in the places looked at."""
    if not dab:
        return StainedArea(0.0, 0.0, 0.0)
    chosen = np.isin(dab["piece"], (*pieces, ANYWHERE))
    return StainedArea(*(float(dab[name][chosen].sum()) for name in NAMES[1:]))
