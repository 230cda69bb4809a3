"""Tiles as a classifier takes them, without torch: the numbers of `preprocess.network_input`, for OpenVINO."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import Manifest

BLOCK_PX = 16
"""Output px that one product of matrices makes along an axis; more would multiply by more zeros."""


class _Block(NamedTuple):
    """Output px, the input px that they follow from, and the (outputs, inputs) weights of these."""

    outputs: slice
    inputs: slice
    weights: NDArray[np.float32]


def tile_input(tiles: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.float32]:
    """Return `tiles` (B, tile_px, tile_px, 3) uint8 RGB as network input (B, 3, input_px, input_px), normalised.

    Raises UsageError for tiles of another shape than the manifest's.
    """
    side, wanted = manifest.tile_px, manifest.input_px
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
        raise UsageError("tiles", f"{tiles.shape} {tiles.dtype} is not (B, H, W, 3) uint8")
    if tiles.shape[1:3] != (side, side):
        raise UsageError("tiles", f"{tiles.shape[2]} x {tiles.shape[1]} px; {manifest.name} takes {side} x {side}")
    inputs = np.empty((len(tiles), 3, wanted, wanted), np.float32)
    for tile, out in zip(tiles, inputs, strict=True):
        _resized(tile, out)
    mean, std = (
        255 * np.array(values, np.float32)[:, np.newaxis, np.newaxis]
        for values in (manifest.normalisation.mean, manifest.normalisation.std)
    )
    inputs -= mean
    inputs *= 1 / std
    return inputs


def _resized(tile: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Put `tile` (H, W, 3) into `out` (3, h, w), bilinear with antialiasing, on the scale 0-255."""
    height, width, channels = tile.shape
    _, wanted, across = out.shape
    rows = tile.reshape(height, width * channels).astype(np.float32)
    between = np.empty((wanted, width * channels), np.float32)
    for outputs, inputs, weights in _bilinear(height, wanted):
        np.matmul(weights, rows[inputs], out=between[outputs])
    planes = np.ascontiguousarray(between.reshape(wanted, width, channels).transpose(2, 0, 1))
    for outputs, inputs, weights in _bilinear(width, across):
        np.matmul(planes[:, :, inputs], weights.T, out=out[:, :, outputs])


@lru_cache(maxsize=8)
def _bilinear(inputs: int, outputs: int) -> tuple[_Block, ...]:
    """Return the weights of the triangle filter, as wide as an output px where that is wider than an input px.

    The filter of torch's interpolate(mode="bilinear", antialias=True) and of Pillow's BILINEAR.
    """
    scale = inputs / outputs
    reach = max(scale, 1.0)
    centres = scale * (np.arange(outputs) + 0.5)
    distance = np.abs(np.arange(inputs) + 0.5 - centres[:, np.newaxis]) / reach
    weights = np.maximum(1 - distance, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    blocks = []
    for first in range(0, outputs, BLOCK_PX):
        part = weights[first : first + BLOCK_PX]
        used = np.flatnonzero(part.any(axis=0))
        taken = slice(int(used[0]), int(used[-1]) + 1)
        matrix = np.ascontiguousarray(part[:, taken], np.float32)
        blocks.append(_Block(slice(first, first + len(part)), taken, matrix))
    return tuple(blocks)
