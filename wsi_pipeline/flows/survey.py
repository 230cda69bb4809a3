"""A first look at a slide at low resolution: its white, its stain, its tissue, and what of it is to be scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError, UsageError
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.slide import Pixels, Slide
from wsi_pipeline.stain.detect import StainGuess, detect_stain
from wsi_pipeline.stain.white import WhitePoint, correct_white, estimate_white
from wsi_pipeline.tiling import Grid, Region
from wsi_pipeline.tissue.mask import Tissue, find_tissue
from wsi_pipeline.tissue.pieces import area_px
from wsi_pipeline.tissue.roi import Roi, read_roi

OVERVIEW_UM = 8.0
"""Coarsest wanted pixel size of the overview, um/px: a nucleus still darkens a pixel, a whole slide fits in memory."""

PATCHES = 12
"""Places at which the stain is looked at closely; more changed no verdict on the material it was tried on."""

PATCH_PX = 512
"""Side of such a place, analysis px."""

DARKEST_WHITE = 60.0
"""Glass darker than this (grey level) is no brightfield slide: the greyest real glass seen was 176."""

MADE_BY_RUNS = {
    "wsi-her2 map": "is a map of a run, not a slide",
    "wsi-her2 virtual stain": "is a virtual stain, inferred from an H&E slide",
}
"""Format that the reader names, and why its pictures are not scored as if they were slides."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Survey:
    """What is known before cells are measured; masks in overview px, one per `downsample` level-0 px."""

    size_l0: Size
    downsample: int
    thumbnail: NDArray[np.uint8]
    """(h, w, 3) uint8 for the overlay picture, at most twice its size; its own resolution."""
    white: WhitePoint
    guess: StainGuess
    stain: Literal["ihc", "he", "unknown"]
    tissue: Tissue
    roi: Roi | None
    within: Mask
    """(H, W) tissue inside the drawn region, all pieces: what is measured."""
    scored: Mask
    """(H, W) the part of it that counts towards the slide score."""
    pieces: tuple[int, ...]
    """Numbers of the pieces that count."""
    tissue_mm2: float
    """Area of `scored`."""

    def shown(self, box_mask: Box) -> Box:
        """Return a box of overview px in level-0 px, cut at the slide's edge."""
        return box_mask.scaled(self.downsample).intersection(Box(0, 0, *self.size_l0))

    def regions(self, grid: Grid) -> list[Region]:
        """Return the regions of `grid` that hold tissue to be looked at."""
        return [region for region in grid.regions() if self.at(grid, region.core_an)[0].any()]

    def at(self, grid: Grid, box_an: Box) -> tuple[Mask, NDArray[np.uint16]]:
        """Return where tissue counts in a box of `grid`, and the number of the piece there, one value per map px.

        Nothing counts outside the slide; a last incomplete overview px does.
        """
        map_px, (ratio_x, ratio_y) = grid.options.map_px, grid.ratio
        x_l0 = (box_an.x + (np.arange(ceil_div(box_an.width, map_px)) + 0.5) * map_px) * ratio_x
        y_l0 = (box_an.y + (np.arange(ceil_div(box_an.height, map_px)) + 0.5) * map_px) * ratio_y
        columns, rows = (np.floor(places / self.downsample).astype(int) for places in (x_l0, y_l0))
        height, width = self.tissue.mask.shape
        inside = ((rows >= 0) & (rows <= height))[:, None] & ((columns >= 0) & (columns <= width))
        place = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
        # the drawn border is sharper than an overview px, so it is drawn again at map resolution
        mask = self.tissue.mask[place] & inside
        if self.roi is not None:
            origin, step = (box_an.x * ratio_x, box_an.y * ratio_y), (map_px * ratio_x, map_px * ratio_y)
            mask &= self.roi.rasterize_px(origin, step, Size(len(columns), len(rows)))
        return mask, self.tissue.labels[place].astype(np.uint16)

    def tissue_at(self, grid: Grid, step: int) -> Mask:
        """Return where the whole slide holds tissue, (H, W) bool, one value per `step` px of `grid`."""
        size = grid.size_an
        coarse = replace(grid, options=grid.options.model_copy(update={"map_px": step}))
        return self.at(coarse, Box(0, 0, *size))[0]


def survey_slide(slide: Slide, grid: Grid, request: ScoreRequest) -> Survey:
    """Look at the slide once, coarsely.

    Raises CorruptSlideError, UnsupportedSlideError (not brightfield), RoiError, UsageError (a piece that is not there).
    """
    settings = request.settings
    if slide.info.vendor in MADE_BY_RUNS:
        raise UnsupportedSlideError(request.slide, MADE_BY_RUNS[slide.info.vendor], "name the slide itself")
    step = overview_step(grid)
    view = _without_overhang(slide.overview(step), grid.size_l0, step)
    lost = 100.0 * view.unreadable / view.valid.size
    if lost > settings.engine.max_unreadable_percent:
        raise CorruptSlideError(request.slide, f"{lost:.0f} % of the slide cannot be read", "copy or scan it again")
    white = estimate_white(view.rgb, view.valid)
    if max(white.rgb) < DARKEST_WHITE:
        raise UnsupportedSlideError(request.slide, "the background is black, so this is no brightfield slide")
    mpp = grid.mpp_l0.scaled(step)
    extent = (grid.size_l0.width / step, grid.size_l0.height / step)
    tissue = find_tissue(view.rgb, view.valid, mpp, white.rgb, settings.tissue, extent)
    roi = read_roi(request.roi, grid.size_l0) if request.roi else None
    within = tissue.mask
    if roi is not None:
        within = within & roi.rasterize(Box(0, 0, within.shape[1] * step, within.shape[0] * step), step)
    pieces = _chosen_pieces(tissue, request)
    scored = within & np.isin(tissue.labels, pieces)
    patches = tissue_patches(slide, grid, within, step)
    if within.any() and not patches:  # seen at low resolution only
        raise CorruptSlideError(request.slide, "none of its tissue can be read", "copy or scan it again")
    white = correct_white(white, patches)
    guess = detect_stain(patches, white.rgb)
    stain = guess.stain if request.stain == "auto" else request.stain
    area = area_px(scored, extent) * mpp.x * mpp.y / 1e6
    return Survey(
        grid.size_l0,
        step,
        _thumbnail(slide, settings.output.overlay_px),
        white,
        guess,
        stain,
        tissue,
        roi,
        within,
        scored,
        pieces,
        area,
    )


def _without_overhang(view: Pixels, size_l0: Size, step: int) -> Pixels:
    """Return the overview without a last row or column of which more than half hangs over the slide's edge.

    Nothing was scanned there because there is no slide.
    """
    width, height = (max(round(side / step), 1) for side in size_l0)
    return Pixels(view.rgb[:height, :width], view.valid[:height, :width], view.unreadable)


def overview_step(grid: Grid) -> int:
    """Return how many level-0 px along each axis are one of the overview: a power of two."""
    coarsest = min(OVERVIEW_UM / min(grid.mpp_l0), *grid.size_l0)  # an overview has at least one px per axis
    return 1 << max(int(np.log2(coarsest)), 0)


def _thumbnail(slide: Slide, longest_px: int) -> NDArray[np.uint8]:
    """Return the slide at the coarsest power of two at which its longest side has at least `longest_px` px."""
    step = (
        1 << max(int(np.log2(max(slide.info.size_l0) / longest_px)), 0) if max(slide.info.size_l0) > longest_px else 1
    )
    return slide.overview(step).rgb


def _chosen_pieces(tissue: Tissue, request: ScoreRequest) -> tuple[int, ...]:
    """Return the numbers of the pieces to score. Raises UsageError for one that the slide does not have."""
    present = tuple(piece.number for piece in tissue.pieces)
    missing = sorted(set(request.pieces) - set(present))
    if missing:
        have = f"it has {len(present)}, numbered from 1, the largest first" if present else "no tissue was found"
        raise UsageError(request.slide, f"there is no tissue piece {missing[0]}", have)
    return tuple(sorted(set(request.pieces))) or present


def tissue_patches(slide: Slide, grid: Grid, tissue: Mask, step: int) -> list[NDArray[np.uint8]]:
    """Return patches spread evenly over the tissue, (PATCH_PX, PATCH_PX, 3) uint8, px of `grid`.

    `slide` holds whole px of its own per px of `grid`; `tissue` (H, W) has one value per `step` level-0 px.
    """
    rows, columns = np.nonzero(tissue)
    if len(rows) == 0:
        return []
    chosen = np.unique(np.linspace(0, len(rows) - 1, PATCHES).astype(int))
    scale, half = max(round(slide.info.size_l0.width / grid.size_an.width), 1), PATCH_PX // 2
    patches = []
    for row, column in zip(rows[chosen], columns[chosen], strict=True):
        x_an = int(int(column) * step / grid.ratio[0]) - half
        y_an = int(int(row) * step / grid.ratio[1]) - half
        pixels = slide.read_box(Box(x_an, y_an, PATCH_PX, PATCH_PX).scaled(scale), scale)
        if pixels.valid.any():
            patches.append(pixels.rgb)
    return patches
