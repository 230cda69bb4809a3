"""What a network answers to the tiles of a fixture."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.fixture_tiles import difference_problem, fixture_tiles
from wsi_pipeline.models.manifest import Fixture, Manifest
from wsi_pipeline.models.preprocess import network_input

SEED = 20
GENERATOR_SIDES_PX = (64, 96)
"""Height and width of a generator's fixture tiles: not square, and quick."""

SAMPLE_EVERY_PX = 16
RELATIVE_TOLERANCE = 1e-3
"""Of the largest expected value. float32 on different processors and thread counts differs by about 1e-5 of it."""


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
    return difference_problem(answers.numpy(), fixture, fixture.tolerance)


def _answers(network: nn.Module, manifest: Manifest, seed: int, sides: tuple[int, int]) -> Tensor:
    """Return the network's answer to each fixture tile, (3, n) float64."""
    tiles = torch.from_numpy(fixture_tiles(seed, *sides))
    with torch.inference_mode():
        output: Tensor = network(network_input(tiles, manifest))
        if not manifest.is_classifier:
            first = SAMPLE_EVERY_PX // 2
            output = output[:, :, first::SAMPLE_EVERY_PX, first::SAMPLE_EVERY_PX]
        return output.flatten(start_dim=1).double()
