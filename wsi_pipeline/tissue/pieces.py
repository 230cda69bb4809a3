"""Pieces of tissue: numbered by area and measured, and the area of any part of an overview."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from wsi_pipeline.geometry import Box

Mask = npt.NDArray[np.bool_]
Extent = tuple[float, float]
"""Width and height of the slide in overview px, not rounded."""


class Piece(NamedTuple):
    """One piece of tissue; parts that lie less than about 0.1 mm apart are one."""

    number: int
    """Its value in `Tissue.labels`, from 1, the largest first."""
    area_mm2: float
    bbox_mask: Box
    """Mask pixels."""
    centroid_mask: tuple[float, float]
    """(x, y), mask pixels."""


def area_px(part: Mask, extent_px: Extent) -> float:
    """Return the area of `part` (H, W) in px; the last row and column count as the slide's edge leaves or adds to them.

    An overview holds whole px, and a slide of `extent_px` seldom does.
    """
    height, width = part.shape
    rows = part.sum(axis=1, dtype=np.float64) + (extent_px[0] - width) * part[:, -1]
    return float(rows.sum() + (extent_px[1] - height) * rows[-1])


def number_pieces(
    mask: Mask, coarse: Mask, extent_px: Extent, px_mm2: float, least_mm2: float
) -> tuple[npt.NDArray[np.int32], list[Piece]]:
    """Return the number of the piece at each px (H, W) int32, 0 outside `mask`, and the pieces, the largest first.

    Parts of `mask` that the wider mask `coarse` joins belong to one piece; `least_mm2` is its least area in `coarse`.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats((mask | coarse).astype(np.uint8), connectivity=8)
    numbered = np.asarray(labels, dtype=np.int32)
    large = np.flatnonzero(np.bincount(numbered[coarse], minlength=len(stats)) * px_mm2 >= least_mm2)
    found = [
        (int(i), _measured(mask, numbered, int(i), Box(*(int(value) for value in stats[i, :4])), extent_px, px_mm2))
        for i in large
        if i > 0
    ]
    kept = sorted(((i, piece) for i, piece in found if piece.area_mm2 > 0), key=lambda pair: -pair[1].area_mm2)
    numbers = np.zeros(len(stats), dtype=np.int32)
    numbers[[i for i, _ in kept]] = np.arange(1, len(kept) + 1)
    return numbers[numbered] * mask, [piece._replace(number=n) for n, (_, piece) in enumerate(kept, start=1)]


def _measured(
    mask: Mask,
    labels: npt.NDArray[np.int32],
    label: int,
    place: Box,
    extent_px: Extent,
    px_mm2: float,
) -> Piece:
    """Return what of `mask` has `label` in `labels`, within the box `place`, as a piece."""
    left, top, width, height = place
    window = np.s_[top : top + height, left : left + width]
    part = (labels[window] == label) & mask[window]
    by_row, by_column = part.sum(axis=1), part.sum(axis=0)
    count = int(by_row.sum())
    if count == 0:
        return Piece(0, 0.0, Box(left, top, 0, 0), (left, top))
    rows, columns = np.flatnonzero(by_row), np.flatnonzero(by_column)
    box = Box(left + int(columns[0]), top + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    centre = (
        left + float(by_column @ np.arange(width)) / count,
        top + float(by_row @ np.arange(height)) / count,
    )
    at_edge = (
        extent_px[0] - mask.shape[1] + width if left + width == mask.shape[1] else width,
        extent_px[1] - mask.shape[0] + height if top + height == mask.shape[0] else height,
    )
    return Piece(0, area_px(part, at_edge) * px_mm2, box, centre)
