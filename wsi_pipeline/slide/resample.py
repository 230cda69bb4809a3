"""Area averaging: every output pixel is the mean of the scanned part of its area, however a region was cut."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.slide.model import WHITE, LevelPixels

Edges = NDArray[np.float64]
"""(n + 1,) borders of n output pixels along one axis, in source px from the source array's first px, ascending."""

MIN_VALID_SHARE = 0.5
"""An output pixel is valid when at least this share of its area was scanned and read."""

TIE_GUARD = 1e-6
"""Added before rounding, so that sums in another order cannot tip a tie the other way."""

BAND_PX = 2**20
"""Source px that the general path holds as float64 at once: 32 MiB for three colours and a weight."""


def area_mean(source: LevelPixels, edges_x: Edges, edges_y: Edges) -> LevelPixels:
    """Return the (len(edges_y) - 1, len(edges_x) - 1) means of `source` between the edges, and which are valid.

    Where the edges are the source's own pixel borders the source comes back untouched.
    """
    step_x, step_y = _whole_step(edges_x, source.rgb.shape[1]), _whole_step(edges_y, source.rgb.shape[0])
    if step_x == step_y == 1:
        return source
    if step_x and step_y:
        return _whole_mean(source, step_x, step_y)
    bands = [_band_mean(source, edges_x, band) for band in _bands(edges_y, source.rgb.shape[1])]
    valid = np.concatenate([band.valid for band in bands if band.valid is not None])
    return LevelPixels(np.concatenate([band.rgb for band in bands]), valid)


def _whole_step(edges: Edges, length: int) -> int:
    """Return the px per output px when the edges cut `length` px into equal whole steps, else 0."""
    step = length // (len(edges) - 1)
    return step if step and np.array_equal(edges, np.arange(len(edges)) * step) and edges[-1] == length else 0


def _whole_mean(source: LevelPixels, step_x: int, step_y: int) -> LevelPixels:
    """Return the means of blocks of step_y x step_x px."""
    height, width = source.rgb.shape[0] // step_y, source.rgb.shape[1] // step_x
    rgb = cv2.resize(source.rgb, (width, height), interpolation=cv2.INTER_AREA).view(np.uint8)
    rgb = rgb.reshape(height, width, 3)
    if source.valid is None:
        return LevelPixels(rgb, None)
    blocks = source.valid.reshape(height, step_y, width, step_x)
    count = blocks.sum(axis=(1, 3))
    rows, columns = np.nonzero((count > 0) & (count < step_x * step_y))
    mask = blocks[rows, :, columns]  # (n, step_y, step_x)
    colours = source.rgb.reshape(height, step_y, width, step_x, 3)[rows, :, columns]  # (n, step_y, step_x, 3)
    sums = (colours * mask[..., np.newaxis]).sum(axis=(1, 2), dtype=np.int64)
    rgb[rows, columns] = _round(sums / count[rows, columns, np.newaxis])
    valid = count >= MIN_VALID_SHARE * step_x * step_y
    rgb[~valid] = WHITE
    return LevelPixels(rgb, valid)


def _bands(edges_y: Edges, width: int) -> list[Edges]:
    """Cut the edges into runs that share their end points and span about BAND_PX source px each."""
    height = float(edges_y[-1] - edges_y[0])
    rows = max(int(BAND_PX / width / height * (len(edges_y) - 1)), 1)
    return [edges_y[first : first + rows + 1] for first in range(0, len(edges_y) - 1, rows)]


def _band_mean(source: LevelPixels, edges_x: Edges, edges_y: Edges) -> LevelPixels:
    """Return the means of the valid part of each output pixel, for any edges."""
    rows = slice(math.floor(edges_y[0]), math.ceil(edges_y[-1]))
    rgb = source.rgb[rows]
    valid = np.ones(rgb.shape[:2], bool) if source.valid is None else source.valid[rows]
    weighted = np.dstack([rgb * valid[..., np.newaxis], valid]).astype(np.float64)  # (h, w, 4)
    sums = _integrals(weighted, edges_y - rows.start)  # (H, w, 4)
    sums = _integrals(sums.transpose(1, 0, 2), edges_x).transpose(1, 0, 2)  # (H, W, 4)
    covered = sums[..., 3]
    area = np.diff(edges_y)[:, np.newaxis] * np.diff(edges_x)
    kept = covered >= MIN_VALID_SHARE * area - TIE_GUARD
    mean = _round(sums[..., :3] / np.maximum(covered, TIE_GUARD)[..., np.newaxis])
    mean[~kept] = WHITE
    return LevelPixels(mean, kept)


def _integrals(values: NDArray[np.float64], edges: Edges) -> NDArray[np.float64]:
    """Return the (len(edges) - 1, ...) integrals of (n, ...) `values` between the edges along the first axis."""
    running = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
    whole = np.floor(edges).astype(int)
    rest = (edges - whole).reshape(-1, *(1,) * (values.ndim - 1))
    at_edges = running[whole] + rest * values[whole.clip(max=len(values) - 1)]
    return np.diff(at_edges, axis=0)


def _round(mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return means as uint8, halves upwards."""
    return np.floor(mean + 0.5 + TIE_GUARD).clip(0, WHITE).astype(np.uint8)
