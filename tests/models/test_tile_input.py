"""Tiles prepared without torch are those that torch prepares."""

from __future__ import annotations

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.manifest import Manifest, Normalisation  # noqa: E402
from wsi_pipeline.models.preprocess import network_input  # noqa: E402
from wsi_pipeline.models.registry import find_weights, shipped_folder  # noqa: E402
from wsi_pipeline.models.tile_input import tile_input  # noqa: E402


def manifest(tile_px: int, input_px: int) -> Manifest:
    given = find_weights("ihcnet-light-phantoms", shipped_folder()).manifest
    own = Normalisation(mean=(0.7, 0.4, 0.5), std=(0.2, 0.31, 0.25))
    return given.model_copy(update={"tile_px": tile_px, "input_px": input_px, "normalisation": own})


@pytest.mark.parametrize(("tile_px", "input_px"), [(256, 224), (256, 256), (256, 96), (128, 224), (100, 68)])
def test_the_same_numbers(tile_px: int, input_px: int) -> None:
    tiles = fixture_tiles(5, tile_px, tile_px)
    wanted = network_input(torch.from_numpy(tiles), manifest(tile_px, input_px)).numpy()
    found = tile_input(tiles, manifest(tile_px, input_px))
    assert found.dtype == np.float32
    assert found.shape == (3, 3, input_px, input_px)
    # a fiftieth of a grey level: torch finds the middle of an output px in float32
    np.testing.assert_allclose(found, wanted, atol=0.02 / 255 / 0.2)


def test_no_tiles_are_no_input() -> None:
    assert tile_input(np.zeros((0, 256, 256, 3), np.uint8), manifest(256, 224)).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (np.zeros((2, 256, 128, 3), np.uint8), "128 x 256 px; ihcnet-light-phantoms takes 256 x 256"),
        (np.zeros((2, 256, 256, 4), np.uint8), r"is not \(B, H, W, 3\) uint8"),
        (np.zeros((2, 256, 256, 3), np.float32), r"float32 is not \(B, H, W, 3\) uint8"),
    ],
)
def test_other_pixels_are_refused(tiles: np.ndarray, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        tile_input(tiles, manifest(256, 224))
