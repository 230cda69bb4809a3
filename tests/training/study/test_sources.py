"""What both classifiers are fed with: as much, in the same mix, and nothing where it does not belong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.study.sources import StudyTiles

STILL = PatchOptions(tile_px=16, crops=1, augment=None)


def patches(folder: Path, labels: list[int], level: int, *, synthetic: bool = False) -> list[Patch]:
    """Return plain images, grey level `level` + number."""
    found = []
    for number, label in enumerate(labels):
        file = folder / f"{level}_{number}.png"
        Image.fromarray(np.full((17, 23, 3), level + number, np.uint8)).save(file)
        found.append(Patch(file, label, f"s{label}", f"s{label}", split="train", synthetic=synthetic))
    return found


@pytest.fixture
def tiles(tmp_path: Path) -> tuple[StudyTiles, StudyTiles]:
    """Return training tiles without and with synthetic ones: three of class 1 and one of class 3."""
    real = PatchSource(patches(tmp_path, [0, 1, 1, 2, 3], 10), STILL)
    made = PatchSource(patches(tmp_path, [1, 1, 1, 3], 100, synthetic=True), STILL)
    return StudyTiles("train", real), StudyTiles("train", real, made)


def levels(source: StudyTiles, epoch: int) -> list[int]:
    return [int(source.sample(index, epoch).rgb[0, 0, 0]) for index in range(len(source))]


def test_an_epoch_has_the_same_length_and_mix_whatever_is_added(tiles: tuple[StudyTiles, StudyTiles]) -> None:
    alone, mixed = tiles
    assert len(alone) == len(mixed) == 5
    assert alone.labels().tolist() == mixed.labels().tolist() == [0, 1, 1, 2, 3]
    for source in tiles:
        assert [source.sample(index, 3).label for index in range(5)] == [0, 1, 1, 2, 3]


def test_alone_every_real_tile_comes_once_an_epoch(tiles: tuple[StudyTiles, StudyTiles]) -> None:
    for epoch in range(3):
        assert sorted(levels(tiles[0], epoch)) == [10, 11, 12, 13, 14]


def test_real_and_synthetic_tiles_take_turns(tiles: tuple[StudyTiles, StudyTiles]) -> None:
    seen = Counter(level for epoch in range(10) for level in levels(tiles[1], epoch))
    assert {level: seen[level] for level in (11, 12, 100, 101, 102)} == dict.fromkeys((11, 12, 100, 101, 102), 4)
    assert (seen[14], seen[103]) == (5, 5)
    assert (seen[10], seen[13]) == (10, 10)
    assert levels(tiles[1], 4) == levels(tiles[1], 4)


def test_a_synthetic_tile_never_validates(tmp_path: Path) -> None:
    smuggled = [Patch(**(vars(patch) | {"split": "val"})) for patch in patches(tmp_path, [2], 50, synthetic=True)]
    source = StudyTiles("val", PatchSource(smuggled, STILL))
    with pytest.raises(UsageError, match=r"50_0\.png: a synthetic image was about to be used for val"):
        source.sample(0, 0)


def test_a_tile_of_another_split_is_refused(tmp_path: Path) -> None:
    source = StudyTiles("val", PatchSource(patches(tmp_path, [2], 60), STILL))
    with pytest.raises(UsageError, match="belongs to train"):
        source.sample(0, 0)
