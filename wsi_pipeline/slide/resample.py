"""Area averaging: every output pixel is the mean of the scanned part of its area, however a region was cut."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.model import WHITE, LevelPixels

Edges = NDArray[np.float64]
"""(n + 1,) borders of n output pixels along one axis, in source px from the source array's first px, ascending."""

Matrix = NDArray[np.floating[Any]]
Kind = type[np.float32] | type[np.float64]

MIN_VALID_SHARE = 0.5
"""An output pixel is valid when at least this share of its area was scanned and read."""

TIE_GUARD = 1e-6
"""Added before rounding, so that sums in another order cannot tip a tie the other way."""

BAND_BLOCKS = 32
"""Blocks of output rows that the general path works on at once: 256 px, as high as a tile."""

BLOCK_PX = 8
"""Output px that one product of matrices makes along an axis; more would multiply by more zeros."""

PART_BLOCKS = 32
"""Blocks of output columns worked on at once, too few for linear algebra libraries to start threads."""

UNIT_ROUNDOFF = 2.0**-24
"""Of float32: how far rounding moves a value, as a share of it (IEEE 754)."""


class _Block(NamedTuple):
    """Neighbouring output px, the source px that they lie in, and the matrix by which these are multiplied."""

    outputs: slice
    inputs: slice
    matrix: Matrix


class _Axis(NamedTuple):
    """How n output px follow from source px along one axis: `first` (n,) and `shares` (n, taps) of each."""

    first: NDArray[np.int64]
    shares: NDArray[np.float64]


def area_mean(source: LevelPixels, edges_x: Edges, edges_y: Edges) -> LevelPixels:
    """Return the (len(edges_y) - 1, len(edges_x) - 1) means of `source` between the edges, and which are valid.

    Where the edges are the source's own pixel borders the source comes back untouched.
    """
    step_x, step_y = _whole_step(edges_x, source.rgb.shape[1]), _whole_step(edges_y, source.rgb.shape[0])
    if step_x == step_y == 1:
        return source
    if step_x and step_y:
        return _whole_mean(source, step_x, step_y)
    across, down = _axis(edges_x, source.rgb.shape[1]), _axis(edges_y, source.rgb.shape[0])
    columns, rows = _blocks(across, np.float32), _blocks(down, np.float32)
    rgb = np.empty((len(edges_y) - 1, len(edges_x) - 1, 3), np.uint8)
    kept = np.ones(rgb.shape[:2], bool)
    for first in range(0, len(rows), BAND_BLOCKS):
        blocks = rows[first : first + BAND_BLOCKS]
        band, taken = _span(blocks)
        if source.valid is None or source.valid[taken].all():
            _round_all(_sums(source.rgb, columns, blocks), source.rgb, across, down, rgb[band], band.start)
        else:
            part = LevelPixels(source.rgb[taken], source.valid[taken])
            below = _Axis(down.first[band] - taken.start, down.shares[band])
            _mean_of_valid(part, across, below, rgb[band], kept[band])
    return LevelPixels(rgb, kept)


def covering(edges_x: Edges, edges_y: Edges) -> Box:
    """Return the whole source px that the output px between the edges lie in."""
    left, top = math.floor(edges_x[0]), math.floor(edges_y[0])
    return Box(left, top, math.ceil(edges_x[-1]) - left, math.ceil(edges_y[-1]) - top)


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


def _round_all(
    mean: Matrix, rgb: NDArray[np.uint8], across: _Axis, down: _Axis, out: NDArray[np.uint8], top: int
) -> None:
    """Round float32 means of `rgb`, (W, H, 3), for output rows from `top` on, into `out` (H, W, 3) as float64 would.

    float32 is twice as quick. Means so near a tie that it might round them the other way are made again in float64.
    """
    mean += 0.5  # halves upwards
    out[...] = cv2.transpose(mean.astype(np.uint8))
    # each sum of t products is off by t + 2 roundings at most, and there are two, one into the other; twice that
    unsure = 2.0 * WHITE * UNIT_ROUNDOFF * (across.shares.shape[1] + down.shares.shape[1] + 5)
    from_tie = np.rint(mean)
    np.abs(np.subtract(mean, from_tie, out=from_tie), out=from_tie)
    x, rows, channel = np.unravel_index(np.flatnonzero(from_tie <= unsure), mean.shape)
    y = rows + top
    pixel_y = down.first[y][:, np.newaxis] + np.arange(down.shares.shape[1])
    pixel_x = across.first[x][:, np.newaxis] + np.arange(across.shares.shape[1])
    values = rgb[pixel_y[:, :, np.newaxis], pixel_x[:, np.newaxis, :], channel[:, np.newaxis, np.newaxis]]
    out[rows, x, channel] = _round(np.einsum("ni,nj,nij->n", down.shares[y], across.shares[x], values))


def _mean_of_valid(
    source: LevelPixels, across: _Axis, down: _Axis, out: NDArray[np.uint8], kept: NDArray[np.bool_]
) -> None:
    """Put the means of the valid part of each output pixel into `out`, and which are valid into `kept`."""
    known = np.ones(source.rgb.shape[:2], bool) if source.valid is None else source.valid
    columns, rows = _blocks(across, np.float64), _blocks(down, np.float64)
    covered = _sums(known[..., np.newaxis], columns, rows)
    sums = _sums(source.rgb * known[..., np.newaxis], columns, rows)
    out[...] = _round(sums / np.maximum(covered, TIE_GUARD)).swapaxes(0, 1)
    kept[...] = covered[..., 0].T >= MIN_VALID_SHARE - TIE_GUARD
    out[~kept] = WHITE


def _axis(edges: Edges, length: int) -> _Axis:
    """Return what the output px between `edges` share with source px, along an axis of `length` of these."""
    start = np.floor(edges[:-1]).astype(np.int64)
    taps = min(int((np.ceil(edges[1:]).astype(np.int64) - start).max()), length)
    start = np.minimum(start, length - taps)
    pixel = start[:, np.newaxis] + np.arange(taps)
    overlaps = np.minimum(edges[1:, np.newaxis], pixel + 1) - np.maximum(edges[:-1, np.newaxis], pixel)
    overlaps = overlaps.clip(min=0)
    return _Axis(start, overlaps / overlaps.sum(axis=1, keepdims=True))


def _blocks(axis: _Axis, kind: Kind) -> list[_Block]:
    """Return the output px of an axis in blocks."""
    number, taps = axis.shares.shape
    firsts = np.arange(0, number, BLOCK_PX)
    starts, stops = axis.first[firsts], np.minimum(firsts + BLOCK_PX, number)
    widths = axis.first[stops - 1] + taps - starts
    shares = np.zeros((len(firsts) * BLOCK_PX, int(widths.max())), kind)
    places = axis.first - starts.repeat(BLOCK_PX)[:number]
    shares[np.arange(number)[:, np.newaxis], places[:, np.newaxis] + np.arange(taps)] = axis.shares
    matrices = shares.reshape(len(firsts), BLOCK_PX, -1)
    limits = zip(matrices, firsts.tolist(), stops.tolist(), starts.tolist(), widths.tolist(), strict=True)
    return [
        _Block(slice(first, stop), slice(start, start + width), matrix[: stop - first, :width])
        for matrix, first, stop, start, width in limits
    ]


def _span(blocks: list[_Block]) -> tuple[slice, slice]:
    """Return the output px and the source px of neighbouring blocks."""
    outputs = slice(blocks[0].outputs.start, blocks[-1].outputs.stop)
    return outputs, slice(blocks[0].inputs.start, blocks[-1].inputs.stop)


def _sums(values: NDArray[Any], across: list[_Block], down: list[_Block]) -> Matrix:
    """Return the means of `values` (h, w, C) over the output px of some blocks, columns first: (W, H, C)."""
    channels, kind = values.shape[2], down[0].matrix.dtype
    (band, rows), width = _span(down), across[-1].outputs.stop
    height = band.stop - band.start
    sums = np.empty((width, height * channels), kind)
    for first in range(0, len(across), PART_BLOCKS):
        part = across[first : first + PART_BLOCKS]
        made, columns = _span(part)
        source = values[rows, columns].astype(kind).reshape(rows.stop - rows.start, -1)
        between = _products(down, source).reshape(height, -1, channels)
        # turned, so that both products run along rows; in place each channel would need zeros for the other ones
        turned = np.asarray(cv2.transpose(between), kind)
        sums[made] = _products(part, turned.reshape(len(turned), -1))
    return sums.reshape(width, height, channels)


def _products(blocks: list[_Block], rows: Matrix) -> Matrix:
    """Return the products of all blocks' matrices with the rows of source px that they follow from, one below another.

    `rows` begin with the first block's first.
    """
    made, taken = _span(blocks)
    products = np.empty((made.stop - made.start, rows.shape[1]), rows.dtype)
    for outputs, inputs, matrix in blocks:
        below = rows[inputs.start - taken.start : inputs.stop - taken.start]
        np.matmul(matrix, below, out=products[outputs.start - made.start : outputs.stop - made.start])
    return products


def _round(mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return means as uint8, halves upwards."""
    return np.floor(mean + 0.5 + TIE_GUARD).clip(0, WHITE).astype(np.uint8)
