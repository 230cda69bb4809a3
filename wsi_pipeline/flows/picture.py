"""The overlay picture: the slide's thumbnail with classes, tissue, excluded parts and numbered pieces."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.export.overlay import (
    DISC_WEIGHT,
    RING_WEIGHT,
    Caption,
    OverlayLayers,
    PieceMark,
    draw_overlay,
    write_png,
)
from wsi_pipeline.export.palette import NO_CLASS
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.tile_region import Columns
from wsi_pipeline.scoring.evidence import COLUMN_OF_TILE
from wsi_pipeline.tissue.pieces import Piece

CELL_UM = 10.0
"""Width at which a cell is drawn, um: about its own."""

LARGEST_DISC_PX = 10
"""A wider cell is drawn as a ring, since its membrane and nucleus can be seen."""


def write_overlay(work: Path, run: RunContext) -> str:
    """Write `overlay.png` and return its name."""
    survey, limit = run.survey, run.request.settings.output.overlay_px
    slide = run.info.size_l0
    px_per_l0 = min(limit / max(slide), 1.0)
    size = (max(round(slide.width * px_per_l0), 1), max(round(slide.height * px_per_l0), 1))
    thumbnail = np.asarray(cv2.resize(survey.thumbnail, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scale = px_per_l0 * survey.downsample
    excluded = _resized(survey.tissue.pen | (survey.tissue.mask & ~survey.scored), size, scale)
    if run.gathered.model_tiles:
        rejected = np.zeros(excluded.shape, np.uint8)
        _draw_boxes(rejected, run.gathered.model_tiles, ~run.gathered.model_tiles["accepted"], px_per_l0)
        excluded |= rejected > 0
    layers = OverlayLayers(
        class_map=_class_map(run, size, px_per_l0),
        map_px_per_thumbnail_px=(1.0, 1.0),
        class_weight=RING_WEIGHT if run.gathered.cells and _cell_px(run, px_per_l0) > LARGEST_DISC_PX else DISC_WEIGHT,
        tissue=_resized(survey.tissue.mask, size, scale),
        excluded=excluded,
        pieces=[
            PieceMark(
                piece.number, (piece.centroid_mask[0] * scale, piece.centroid_mask[1] * scale), _scaled(piece, scale)
            )
            for piece in survey.tissue.pieces
        ],
        lateral=run.request.settings.rule.counts_lateral,
    )
    caption = Caption(
        _title(run), PurePath(run.request.slide_shown).name, f"{datetime.now(UTC):%Y-%m-%d}", run.info.mpp.x / px_per_l0
    )
    write_png(work / "overlay.png", draw_overlay(thumbnail, layers, caption))
    return "overlay.png"


def _scaled(piece: Piece, scale: float) -> tuple[float, float, float, float]:
    """Return the bounding box of a piece in thumbnail px."""
    x, y, width, height = piece.bbox_mask
    return x * scale, y * scale, width * scale, height * scale


def _title(run: RunContext) -> str:
    """Return the line over the picture."""
    score = run.verdicts.slide
    virtual = "virtual stain, inferred from H&E: " if run.plan.virtual else ""
    if score.score == "not evaluable":
        return f"{virtual}HER2 not evaluable: {score.reason}"
    border = ", borderline" if score.borderline else ""
    strength = f", H-score {score.shares.h_score:.0f}" if score.shares else ""
    counted = f"{score.tumour_cells} tumour cells"
    if run.plan.evidence == "tiles":
        counted = f"{int(run.gathered.model_tiles['scored'].sum())} tiles"
    rule = run.request.settings.rule
    tumour = "" if rule.tumour == "breast" else f"; rule of {rule.described}"
    return f"{virtual}HER2 {score.score} ({score.category}{border}){strength}, {counted}{tumour}"


def _resized(mask: NDArray[np.bool_], size: tuple[int, int], scale: float) -> NDArray[np.bool_]:
    """Return overview `mask` in thumbnail px (width, height); a last incomplete overview px is cut off."""
    columns = np.minimum(((np.arange(size[0]) + 0.5) / scale).astype(int), mask.shape[1] - 1)
    rows = np.minimum(((np.arange(size[1]) + 0.5) / scale).astype(int), mask.shape[0] - 1)
    return mask[np.ix_(rows, columns)]


def _class_map(run: RunContext, size: tuple[int, int], px_per_l0: float) -> NDArray[np.uint8]:
    """Return the strongest class at each thumbnail px, (H, W) uint8: of cells, or of tiles where none were measured.

    NO_CLASS everywhere when a virtual stain is no evidence: its classes over the H&E would pass for some.
    """
    strength = np.zeros((size[1], size[0]), np.uint8)  # class index + 1, so that the strongest wins
    if run.verdicts.disbelief:
        return np.full_like(strength, NO_CLASS)
    if run.gathered.cells:
        _draw_cells(strength, run, px_per_l0)
    elif "class_index" in run.gathered.model_tiles:
        tiles = run.gathered.model_tiles
        for tile, column in enumerate(COLUMN_OF_TILE):
            shown = tiles["scored"] & (tiles["class_index"] == tile)
            _draw_boxes(strength, tiles, shown, px_per_l0, column + 1)
    return np.where(strength > 0, strength - 1, NO_CLASS).astype(np.uint8)


def _draw_cells(strength: NDArray[np.uint8], run: RunContext, px_per_l0: float) -> None:
    """Draw the scored tumour cells about as wide as they are: as discs, or as rings where membranes can be seen."""
    cells, (height, width) = run.gathered.cells, strength.shape
    shown = cells["tumour"] & cells["scored"]
    column = np.minimum((cells["x_l0"][shown] * px_per_l0).astype(int), width - 1)
    row = np.minimum((cells["y_l0"][shown] * px_per_l0).astype(int), height - 1)
    value, wide = cells["class_index"][shown] + 1, _cell_px(run, px_per_l0)
    if wide > LARGEST_DISC_PX:
        line = max(2, round(wide / LARGEST_DISC_PX))
        for place in np.argsort(value, kind="stable"):  # the strongest last, on top
            centre = (int(column[place]), int(row[place]))
            cv2.circle(strength, centre, (wide - line) // 2, int(value[place]), line, cv2.LINE_8)
        return
    np.maximum.at(strength, (row, column), value)
    cv2.dilate(strength, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide)), dst=strength)


def _cell_px(run: RunContext, px_per_l0: float) -> int:
    """Return the width at which a cell is drawn, thumbnail px."""
    return max(1, round(CELL_UM / max(run.info.mpp) * px_per_l0))


def _draw_boxes(
    picture: NDArray[np.uint8], tiles: Columns, shown: NDArray[np.bool_], px_per_l0: float, value: int = 1
) -> None:
    """Fill the boxes of the `shown` (T,) tiles with `value`."""
    corners = np.stack([tiles["x_l0"], tiles["y_l0"]], axis=1)[shown]
    sizes = np.stack([tiles["width_l0"], tiles["height_l0"]], axis=1)[shown]
    first = np.rint(corners * px_per_l0).astype(int)
    end = np.maximum(np.rint((corners + sizes) * px_per_l0).astype(int), first + 1)
    for (left, top), (right, bottom) in zip(first, end, strict=True):
        picture[top:bottom, left:right] = value
