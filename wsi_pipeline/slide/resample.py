"""Area averaging: every output pixel is the mean of the scanned part of its area, however a region was cut."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.slide.model import WHITE, LevelPixels

Edges = NDArray[np.float64]
"""(n + 1,) borders of n output pixels along one axis, in source px from the source array's first px, ascending."""

Matrix = NDArray[np.floating[Any]]
Kind = type[np.float32] | type[np.float64]

MIN_VALID_SHARE = 0.5
"""An output pixel is valid when at least this share of its area was scanned and read."""

TIE_GUARD = 1e-6
"""Added before rounding, so that sums in another order cannot tip a tie the other way."""

BAND_BLOCKS = 8
"""Blocks of output rows that the general path works on at once: what lies between its steps stays in the cache."""

BLOCK_PX = 8
"""Output px that one product of matrices makes along an axis; more would multiply by more zeros."""

PART_BLOCKS = 32
"""Blocks of output columns worked on at once, too few for linear algebra libraries to start threads."""

UNIT_ROUNDOFF = 2.0**-24
"""Of float32: how far rounding moves a value, as a share of it (IEEE 754)."""


class _Block(NamedTuple):
    """Neighbouring output px, the source px that they lie in, and the (outputs, inputs) shares of those in these."""

    outputs: slice
    inputs: slice
    shares: Matrix


class _Axis(NamedTuple):
    """How n output px follow from source px along one axis: `first` (n,) and `shares` (n, taps) of each; in blocks."""

    first: NDArray[np.int64]
    shares: NDArray[np.float64]
    blocks: list[_Block]


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
    quick = _for_rows(across.blocks, 3, np.float32)
    rgb = np.empty((len(edges_y) - 1, len(edges_x) - 1, 3), np.uint8)
    kept = np.ones(rgb.shape[:2], bool)
    for first in range(0, len(down.blocks), BAND_BLOCKS):
        blocks = down.blocks[first : first + BAND_BLOCKS]
        band, rows = _span(blocks)
        if source.valid is None or source.valid[rows].all():
            sums = _sums(source.rgb, quick, blocks, np.float32)
            _round_all(sums, source.rgb, across, down, rgb[band], band.start)
        else:
            _mean_of_valid(source.rgb, source.valid, across, blocks, rgb[band], kept[band])
    return LevelPixels(rgb, kept)


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
    """Round float32 means of `rgb`, (H, W * 3), for output rows from `top` on, into `out` as float64 would.

    float32 is twice as quick. Means so near a tie that it might round them the other way are made again in float64.
    """
    mean += 0.5  # halves upwards
    out[...] = mean.astype(np.uint8).reshape(out.shape)
    # each sum of t products is off by t + 2 roundings at most, and there are two, one into the other; twice that
    unsure = 2.0 * WHITE * UNIT_ROUNDOFF * (across.shares.shape[1] + down.shares.shape[1] + 5)
    rows, columns = np.divmod(np.flatnonzero(np.abs(mean - np.rint(mean)) <= unsure), mean.shape[1])
    x, channel = np.divmod(columns, 3)
    y = rows + top
    pixel_y = down.first[y][:, np.newaxis] + np.arange(down.shares.shape[1])
    pixel_x = across.first[x][:, np.newaxis] + np.arange(across.shares.shape[1])
    values = rgb[pixel_y[:, :, np.newaxis], pixel_x[:, np.newaxis, :], channel[:, np.newaxis, np.newaxis]]
    out[rows, x, channel] = _round(np.einsum("ni,nj,nij->n", down.shares[y], across.shares[x], values))


def _mean_of_valid(
    rgb: NDArray[np.uint8], valid: NDArray[np.bool_], across: _Axis, blocks: list[_Block],
    out: NDArray[np.uint8], kept: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Put the means of the valid part of each output pixel of a band into `out`, and which are valid into `kept`."""
    rows = _span(blocks)[1]
    known = np.zeros(rgb.shape, np.uint8)
    known[rows] = rgb[rows] * valid[rows, :, np.newaxis]
    covered = _sums(valid[..., np.newaxis], _for_rows(across.blocks, 1, np.float64), blocks, np.float64)
    sums = _sums(known, _for_rows(across.blocks, 3, np.float64), blocks, np.float64).reshape(out.shape)
    out[...] = _round(sums / np.maximum(covered, TIE_GUARD)[..., np.newaxis])
    kept[...] = covered >= MIN_VALID_SHARE - TIE_GUARD
    out[~kept] = WHITE


def _axis(edges: Edges, length: int) -> _Axis:
    """Return what the output px between `edges` share with source px, along an axis of `length` of these."""
    start = np.floor(edges[:-1]).astype(np.int64)
    taps = min(int((np.ceil(edges[1:]).astype(np.int64) - start).max()), length)
    start = np.minimum(start, length - taps)
    pixel = start[:, np.newaxis] + np.arange(taps)
    overlaps = np.minimum(edges[1:, np.newaxis], pixel + 1) - np.maximum(edges[:-1, np.newaxis], pixel)
    overlaps = overlaps.clip(min=0)
    shares = overlaps / overlaps.sum(axis=1, keepdims=True)
    blocks = []
    for first in range(0, len(start), BLOCK_PX):
        outputs = slice(first, min(first + BLOCK_PX, len(start)))
        inputs = slice(int(start[first]), int(start[outputs.stop - 1]) + taps)
        matrix = np.zeros((outputs.stop - first, inputs.stop - inputs.start))
        matrix[np.arange(len(matrix))[:, np.newaxis], pixel[outputs] - inputs.start] = shares[outputs]
        blocks.append(_Block(outputs, inputs, matrix))
    return _Axis(start, shares, blocks)


def _span(blocks: list[_Block]) -> tuple[slice, slice]:
    """Return the output px and the source px of neighbouring blocks."""
    outputs = slice(blocks[0].outputs.start, blocks[-1].outputs.stop)
    return outputs, slice(blocks[0].inputs.start, blocks[-1].inputs.stop)


def _sums(values: NDArray[Any], across: list[_Block], down: list[_Block], kind: Kind) -> Matrix:
    """Return the means of `values` (h, w, C) over the output px of some blocks, (H, W * C), in products of `kind`.

    `across` comes from `_for_rows`.
    """
    channels = values.shape[2]
    flat = values.reshape(len(values), -1)
    band, rows = _span(down)
    vertical = [block._replace(shares=block.shares.astype(kind)) for block in down]
    sums = np.empty((band.stop - band.start, across[-1].outputs.stop * channels), kind)
    for first in range(0, len(across), PART_BLOCKS):
        part = across[first : first + PART_BLOCKS]
        left, right = (channels * edge for edge in (_span(part)[1].start, _span(part)[1].stop))
        source = flat[rows, left:right].astype(kind)
        between = np.empty((len(sums), right - left), kind)
        for outputs, inputs, shares in vertical:
            made = slice(outputs.start - band.start, outputs.stop - band.start)
            np.matmul(shares, source[inputs.start - rows.start : inputs.stop - rows.start], out=between[made])
        for outputs, inputs, shares in part:
            made = slice(outputs.start * channels, outputs.stop * channels)
            taken = slice(inputs.start * channels - left, inputs.stop * channels - left)
            np.matmul(between[:, taken], shares, out=sums[:, made])
    return sums


def _for_rows(blocks: list[_Block], channels: int, kind: Kind) -> list[_Block]:
    """Return the blocks with matrices (inputs * C, outputs * C), by which rows of px with C values are multiplied."""
    found = []
    for block in blocks:
        outputs, inputs = block.shares.shape
        mixed = np.zeros((inputs, channels, outputs, channels), kind)
        for channel in range(channels):
            mixed[:, channel, :, channel] = block.shares.T
        found.append(block._replace(shares=mixed.reshape(inputs * channels, outputs * channels)))
    return found


def _round(mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return means as uint8, halves upwards."""
    return np.floor(mean + 0.5 + TIE_GUARD).clip(0, WHITE).astype(np.uint8)
