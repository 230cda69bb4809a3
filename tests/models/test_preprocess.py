"""Pixels to network values and back."""

from __future__ import annotations

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models.architectures import PREPARATION  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.manifest import Architecture, Fixture, Manifest  # noqa: E402
from wsi_pipeline.models.preprocess import image_pixels, network_input  # noqa: E402


def manifest(architecture: Architecture) -> Manifest:
    fixture = Fixture(seed=0, height_px=64, width_px=96, expected=(), tolerance=1)
    facts = PREPARATION[architecture]._asdict()
    return Manifest(
        name="toy", mpp=0.5, licence="CC0-1.0", architecture=architecture, file="toy.safetensors", sha256="0" * 64,
        fixture=fixture, **facts,
    )  # fmt: skip


def test_classifier_input_is_resized_and_normalised() -> None:
    tiles = torch.empty(2, 256, 256, 3, dtype=torch.uint8)
    tiles[..., 0], tiles[..., 1], tiles[..., 2] = 255, 128, 0
    prepared = network_input(tiles, manifest("ihcnet"))
    assert prepared.shape == (2, 3, 224, 224)
    expected = torch.tensor([(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225])
    assert torch.allclose(prepared, expected[:, None, None].expand_as(prepared), atol=1e-5)


def test_resizing_keeps_rows_and_columns() -> None:
    tiles = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    tiles[:, :64] = 255
    red = network_input(tiles, manifest("ihcnet-light"))[0, 0]
    assert (red[:54] > 0).all()
    assert (red[58:] < 0).all()


def test_generator_pixels_come_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)[:, :12]
    image = network_input(levels, manifest("pspstain"))
    assert image.shape == (1, 3, 12, 16)
    assert image.min() == -1
    assert torch.equal(image_pixels(image), levels)
    assert image_pixels(torch.tensor([-3.0, 3.0, 0.0]).reshape(1, 3, 1, 1)).flatten().tolist() == [0, 255, 128]


@pytest.mark.parametrize(
    ("tiles", "words"),
    [
        (torch.zeros(1, 256, 256, 3), "float32"),
        (torch.zeros(1, 3, 256, 256, dtype=torch.uint8), "(1, 3, 256, 256)"),
        (torch.zeros(1, 256, 128, 3, dtype=torch.uint8), "128 x 256 px"),
    ],
)
def test_other_pixels_are_refused(tiles: torch.Tensor, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        network_input(tiles, manifest("ihcnet"))
    assert words in str(caught.value)


def test_fixture_tiles_never_change() -> None:
    tiles = fixture_tiles(20, 20, 36)
    assert tiles.shape == (3, 20, 36, 3)
    assert [int(tile.mean()) for tile in tiles] == [243, 140, 120]
    assert tiles[:, 19, 35].tolist() == [[249, 237, 248], [168, 78, 161], [209, 125, 85]]
    assert not np.array_equal(tiles, fixture_tiles(21, 20, 36))
