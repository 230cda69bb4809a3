"""Area averaging: every output pixel is the mean of the scanned part of its area, however a region was cut."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.slide.model import WHITE, LevelPixels

Edges = NDArray[np.float64]
"""(n + 1,) borders of n output pixels along one axis, in source px from the source array's first px, ascending."""

Matrix = NDArray[np.float64]

MIN_VALID_SHARE = 0.5
"""An output pixel is valid when at least this share of its area was scanned and read."""

TIE_GUARD = 1e-6
"""Added before rounding, so that sums in another order cannot tip a tie the other way."""

BAND_ROWS = 64
"""Output rows that the general path works on at once: what lies between its two steps then stays in the cache."""

BLOCK_PX = 8
"""Output px that one product of matrices makes along an axis; more would multiply by more zeros."""

PART_VALUES = 1024
"""Values of a source row in one such product, which is then too small for linear algebra libraries to start threads."""


class _Block(NamedTuple):
    """How neighbouring output px follow from source px along one axis: their (outputs, inputs) overlaps, source px."""

    outputs: slice
    inputs: slice
    overlaps: Matrix


def area_mean(source: LevelPixels, edges_x: Edges, edges_y: Edges) -> LevelPixels:
    """Return the (len(edges_y) - 1, len(edges_x) - 1) means of `source` between the edges, and which are valid.

    Where the edges are the source's own pixel borders the source comes back untouched.
    """
    step_x, step_y = _whole_step(edges_x, source.rgb.shape[1]), _whole_step(edges_y, source.rgb.shape[0])
    if step_x == step_y == 1:
        return source
    if step_x and step_y:
        return _whole_mean(source, step_x, step_y)
    blocks = _blocks(edges_x, source.rgb.shape[1])
    mixed = [_interleaved(block.overlaps, 3) for block in blocks]
    bands = [
        _band_mean(source, blocks, mixed, edges_y[first : first + BAND_ROWS + 1])
        for first in range(0, len(edges_y) - 1, BAND_ROWS)
    ]
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


def _band_mean(source: LevelPixels, blocks_x: list[_Block], mixed: list[Matrix], edges_y: Edges) -> LevelPixels:
    """Return the means of the valid part of each output pixel, for any edges; `mixed`: of three colours."""
    rows = slice(math.floor(edges_y[0]), math.ceil(edges_y[-1]))
    rgb = source.rgb[rows]
    valid = None if source.valid is None else source.valid[rows]
    blocks_y = _blocks(edges_y - rows.start, len(rgb))
    area = _lengths(blocks_y)[:, np.newaxis] * _lengths(blocks_x)
    if valid is None or valid.all():
        covered = area
    else:
        rgb = rgb * valid[..., np.newaxis]
        alone = [block.overlaps.T for block in blocks_x]
        covered = _integrals(valid[..., np.newaxis], blocks_x, alone, blocks_y)[..., 0]
    mean = _integrals(rgb, blocks_x, mixed, blocks_y)
    mean /= np.repeat(np.maximum(covered, TIE_GUARD), 3, axis=1).reshape(mean.shape)  # quicker than three by three
    mean += 0.5 + TIE_GUARD  # halves upwards
    rgb = mean.astype(np.uint8)
    kept = covered >= MIN_VALID_SHARE * area - TIE_GUARD
    if covered is not area:
        rgb[~kept] = WHITE
    return LevelPixels(rgb, kept)


def _blocks(edges: Edges, length: int) -> list[_Block]:
    """Return the blocks of the output px between `edges`, along an axis of `length` source px."""
    found = []
    for first in range(0, len(edges) - 1, BLOCK_PX):
        part = edges[first : first + BLOCK_PX + 1]
        start, end = math.floor(part[0]), min(math.ceil(part[-1]), length)
        pixel = np.arange(start, end)
        overlaps = np.minimum(part[1:, np.newaxis], pixel + 1) - np.maximum(part[:-1, np.newaxis], pixel)
        found.append(_Block(slice(first, first + len(part) - 1), slice(start, end), overlaps.clip(min=0)))
    return found


def _lengths(blocks: list[_Block]) -> NDArray[np.float64]:
    """Return the length of each output px, source px."""
    return np.concatenate([block.overlaps.sum(axis=1) for block in blocks])


def _integrals(
    values: NDArray[Any], blocks_x: list[_Block], mixed: list[Matrix], blocks_y: list[_Block]
) -> NDArray[np.float64]:
    """Return the integrals of `values` (h, w, C) over each output px, (H, W, C), in products of small matrices.

    `mixed`: `_interleaved` of each block across, for C channels.
    """
    height, width, channels = blocks_y[-1].outputs.stop, blocks_x[-1].outputs.stop, values.shape[2]
    down = np.empty((height, values.shape[1] * channels))
    flat = values.reshape(len(values), -1)
    for first in range(0, flat.shape[1], PART_VALUES):
        part = slice(first, first + PART_VALUES)
        for outputs, inputs, overlaps in blocks_y:
            np.matmul(overlaps, flat[inputs, part].astype(np.float64), out=down[outputs, part])
    sums = np.empty((height, width * channels))
    for (outputs, inputs, _), matrix in zip(blocks_x, mixed, strict=True):
        columns, source = (slice(part.start * channels, part.stop * channels) for part in (outputs, inputs))
        np.matmul(down[:, source], matrix, out=sums[:, columns])
    return sums.reshape(height, width, channels)


def _interleaved(overlaps: Matrix, channels: int) -> Matrix:
    """Return the matrix (inputs * C, outputs * C) by which rows of px with `channels` values each are multiplied."""
    outputs, inputs = overlaps.shape
    mixed = np.zeros((inputs, channels, outputs, channels))
    for channel in range(channels):
        mixed[:, channel, :, channel] = overlaps.T
    return mixed.reshape(inputs * channels, outputs * channels)


def _round(mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return means as uint8, halves upwards."""
    return np.floor(mean + 0.5 + TIE_GUARD).clip(0, WHITE).astype(np.uint8)
