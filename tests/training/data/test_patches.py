"""Crops of patches on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.augment import AugmentOptions
from wsi_pipeline.training.data.images import kept_rgb
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource
from wsi_pipeline.training.data.records import Patch, Source

ONLY_TURNS = AugmentOptions(ihc=False, he=False)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """Forget images of other tests, whose names are the same only by chance."""
    kept_rgb.cache_clear()


def _source(folder: Path, **options) -> PatchSource:
    return PatchSource(read_dataset(folder), PatchOptions(**{"tile_px": 32, "crops": 3, "seed": 5, **options}))


def test_the_same_number_gives_the_same_pixels_in_any_order(bci: Path) -> None:
    one, other = _source(bci), _source(bci)
    forward = [one.sample(index, 2) for index in range(len(one))]
    for index in reversed(range(len(other))):
        again = other.sample(index, 2)
        assert np.array_equal(again.rgb, forward[index].rgb)
        assert np.array_equal(again.he, forward[index].he)
    assert not np.array_equal(forward[4].rgb, one.sample(4, 3).rgb)
    assert not np.array_equal(forward[4].rgb, _source(bci, seed=6).sample(4, 2).rgb)


def test_samples_are_what_the_patches_say(bci: Path) -> None:
    source: Source = _source(bci)
    assert len(source) == 36
    samples = [source.sample(index, 0) for index in range(36)]
    assert [sample.label for sample in samples] == source.labels().tolist()
    assert all(sample.rgb.shape == sample.he.shape == (32, 32, 3) for sample in samples)
    assert len({sample.group for sample in samples}) == 12


def test_a_pair_is_cut_and_turned_alike(tmp_path: Path) -> None:
    y, x = np.mgrid[:61, :75].astype(np.uint8)
    image = np.stack([x, y, x + y], axis=2)
    for name in ("a.png", "b.png"):
        Image.fromarray(image).save(tmp_path / name)
    patch = Patch(tmp_path / "a.png", 1, "s", "s", he=tmp_path / "b.png")
    source = PatchSource([patch], PatchOptions(tile_px=24, crops=20, augment=ONLY_TURNS))
    samples = [source.sample(index, 0) for index in range(20)]
    assert all(np.array_equal(sample.rgb, sample.he) for sample in samples)
    corners = {tuple(sample.rgb[0, 0].tolist()) for sample in samples}
    assert len(corners) > 15


def test_tiles_show_the_wanted_pixel_size(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(120, dtype=np.uint8)[None, :, None], 90, axis=0).repeat(3, axis=2) * 2
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    options = PatchOptions(tile_px=30, mpp_in=0.25, mpp_out=0.5, crops=1, augment=None)
    tile = PatchSource([Patch(tmp_path / "ramp.png", 0, "s", "s")], options).sample(0, 0).rgb
    assert np.ptp(tile[0, :, 0].astype(int)) == pytest.approx(2 * 58, abs=2), "60 px of the patch in 30 px"
    assert tile.mean() == pytest.approx(ramp.mean(), abs=2), "from the middle"


def test_without_augmentation_nothing_is_left_to_chance(bci: Path) -> None:
    source = _source(bci, augment=None, crops=4)
    for index in (0, 3):
        assert np.array_equal(source.sample(index, 0).rgb, source.sample(index, 8).rgb)
    whole = np.asarray(Image.open(source.patches[0].path))
    assert np.array_equal(source.sample(0, 0).rgb, whole[:32, :32])
    assert np.array_equal(source.sample(3, 0).rgb, whole[-32:, -32:])


def test_a_patch_as_large_as_the_tile_is_enough(paint) -> None:
    patch = Patch(paint("a.png", 1, (50, 50)), 0, "s", "s")
    source = PatchSource([patch], PatchOptions(tile_px=50, crops=30))
    assert {source.sample(index, 0).rgb.shape for index in range(30)} == {(50, 50, 3)}


def test_a_patch_that_is_too_small_is_named(bci: Path) -> None:
    with pytest.raises(UsageError, match=r"00000_.*\.png: is 75 x 61 px, less than the 80 px"):
        _source(bci, tile_px=80, augment=None).sample(0, 0)


def test_an_unequal_pair_is_named(bci: Path, paint) -> None:
    paint("bci/HE/test/00000_test_0.png", 1, (90, 61))
    with pytest.raises(UsageError, match=r"00000_test_0\.png: its pair .* has another size"):
        _source(bci).sample(0, 0)


def test_no_patches_is_told() -> None:
    with pytest.raises(UsageError, match="no patch to train on"):
        PatchSource([], PatchOptions())
