"""Made-up tiles in the colours of glass, H&E and DAB, and what a network answers to them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.manifest import Fixture, Manifest
from wsi_pipeline.models.preprocess import network_input

COLOURS = ((243, 242, 245), (150, 110, 165), (165, 115, 80))
"""RGB of glass, hematoxylin with eosin, and DAB."""

COARSE_AMPLITUDE = (6, 60, 60)
"""Largest departure of a block of pixels from each colour, grey levels."""

FINE_AMPLITUDE = 10
BLOCK_PX = 8
SEED = 20
GENERATOR_SIDES_PX = (64, 96)
"""Height and width of a generator's fixture tiles: not square, and quick."""

SAMPLE_EVERY_PX = 16
RELATIVE_TOLERANCE = 1e-3
"""Of the largest expected value. float32 on different processors and thread counts differs by about 1e-5 of it."""


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


def make_fixture(network: nn.Module, manifest: Manifest) -> Fixture:
    """Return the fixture of `network` (eval, CPU, float32), which the other fields of `manifest` describe.

    Raises WeightsError when the network answers with anything but finite numbers.
    """
    height, width = (manifest.tile_px, manifest.tile_px) if manifest.is_classifier else GENERATOR_SIDES_PX
    answers = _answers(network, manifest, SEED, (height, width))
    largest = float(answers.abs().max())
    if not math.isfinite(largest):  # max() of anything with NaN is NaN
        raise WeightsError(manifest.name, "its outputs are not finite numbers")
    return Fixture(
        seed=SEED,
        height_px=height,
        width_px=width,
        expected=tuple(tuple(float(f"{value:.7g}") for value in row) for row in answers.tolist()),
        tolerance=float(f"{max(largest * RELATIVE_TOLERANCE, 1e-9):.3g}"),
    )


def fixture_problem(network: nn.Module, manifest: Manifest) -> str:
    """Return how the network's answers differ from those in the manifest, or nothing when they agree."""
    fixture = manifest.fixture
    answers = _answers(network, manifest, fixture.seed, (fixture.height_px, fixture.width_px))
    if [len(row) for row in fixture.expected] != [answers.shape[1]] * answers.shape[0]:
        return f"the fixture lists {[len(row) for row in fixture.expected]} outputs, not {list(answers.shape)}"
    difference = float((answers - torch.tensor(fixture.expected, dtype=torch.float64)).abs().max())
    if difference <= fixture.tolerance:  # false for NaN too
        return ""
    return f"its fixture outputs differ by {difference:.3g}, more than {fixture.tolerance:g}"


def _answers(network: nn.Module, manifest: Manifest, seed: int, sides: tuple[int, int]) -> Tensor:
    """Return the network's answer to each fixture tile, (3, n) float64."""
    tiles = torch.from_numpy(fixture_tiles(seed, *sides))
    with torch.inference_mode():
        output: Tensor = network(network_input(tiles, manifest))
        if not manifest.is_classifier:
            first = SAMPLE_EVERY_PX // 2
            output = output[:, :, first::SAMPLE_EVERY_PX, first::SAMPLE_EVERY_PX]
        return output.flatten(start_dim=1).double()


def _noise(source: np.random.PCG64, shape: tuple[int, int, int], amplitude: int) -> NDArray[np.int64]:
    """Return uniform integers from -amplitude to +amplitude, the low 32 bits of the raw stream."""
    raw = (source.random_raw(int(np.prod(shape))) & 0xFFFFFFFF).astype(np.int64)
    return raw.reshape(shape) % (2 * amplitude + 1) - amplitude
