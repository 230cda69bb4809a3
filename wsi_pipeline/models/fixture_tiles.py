"""Made-up tiles in the colours of glass, H&E and DAB, and how far answers to them may lie from the manifest's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.models.manifest import Fixture, Manifest

COLOURS = ((243, 242, 245), (150, 110, 165), (165, 115, 80))
"""RGB of glass, hematoxylin with eosin, and DAB."""

COARSE_AMPLITUDE = (6, 60, 60)
"""Largest departure of a block of pixels from each colour, grey levels."""

FINE_AMPLITUDE = 10
BLOCK_PX = 8


def fixture_tiles(seed: int, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Return the tiles of recipe "stain-colours-1", (3, H, W, 3) uint8 RGB.

    Only integers and the raw PCG64 stream, which NumPy keeps the same in all versions.
    """
    source = np.random.PCG64(seed)
    rows, columns = -(-height_px // BLOCK_PX), -(-width_px // BLOCK_PX)
    tiles = np.empty((len(COLOURS), height_px, width_px, 3), np.uint8)
    for number, (colour, amplitude) in enumerate(zip(COLOURS, COARSE_AMPLITUDE, strict=True)):
        coarse = _noise(source, (rows, columns, 3), amplitude).repeat(BLOCK_PX, axis=0).repeat(BLOCK_PX, axis=1)
        fine = _noise(source, (height_px, width_px, 3), FINE_AMPLITUDE)
        tiles[number] = np.clip(np.array(colour) + coarse[:height_px, :width_px] + fine, 0, 255)
    return tiles


def glass_tile(manifest: Manifest) -> NDArray[np.uint8]:
    """Return the white tile that explanations start from, (1, tile_px, tile_px, 3) uint8 RGB."""
    return np.full((1, manifest.tile_px, manifest.tile_px, 3), 255, np.uint8)


def difference_problem(answers: NDArray[np.float64], fixture: Fixture, tolerance: float) -> str:
    """Return how `answers`, (tiles, n), differ from those of `fixture` by more than `tolerance`, or nothing."""
    if [len(row) for row in fixture.expected] != [answers.shape[1]] * answers.shape[0]:
        return f"the fixture lists {[len(row) for row in fixture.expected]} outputs, not {list(answers.shape)}"
    difference = float(np.abs(answers - np.array(fixture.expected)).max())
    if difference <= tolerance:  # false for NaN too
        return ""
    return f"its fixture outputs differ by {difference:.3g}, more than {tolerance:g}"


def _noise(source: np.random.PCG64, shape: tuple[int, int, int], amplitude: int) -> NDArray[np.int64]:
    """Return uniform integers from -amplitude to +amplitude, the low 32 bits of the raw stream."""
    raw = (source.random_raw(int(np.prod(shape))) & 0xFFFFFFFF).astype(np.int64)
    return raw.reshape(shape) % (2 * amplitude + 1) - amplitude
