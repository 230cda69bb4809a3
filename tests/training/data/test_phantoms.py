"""Phantom tiles as a source."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.training.data.domain import HELD_OUT, TRAINING, draw_phantom
from wsi_pipeline.training.data.phantoms import (
    FEW,
    SPLIT_SEEDS,
    PhantomSource,
    PhantomTileOptions,
    phantom_seed,
    tile_counts,
    tile_labels,
)
from wsi_pipeline.training.phantom import PRESETS, make_phantom

SMALL = {"tiles": 12, "tile_px": 101, "phantom_px": 430, "per_phantom": 2, "together": 4, "least_cells": 8}
AS_PAINTED = {**SMALL, "augment": None}


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    return PhantomSource(PhantomTileOptions(**SMALL, pairs=True, bare_share=0.2))


def test_the_same_number_gives_the_same_pixels_in_any_order_and_process(source: PhantomSource) -> None:
    forward = [source.sample(index, 1) for index in range(12)]
    fresh = pickle.loads(pickle.dumps(source))  # noqa: S301
    for index in (11, 0, 5):
        again = fresh.sample(index, 1)
        assert np.array_equal(again.rgb, forward[index].rgb)
        assert np.array_equal(again.he, forward[index].he)
        assert again.group == forward[index].group
    assert {sample.rgb.shape for sample in forward} == {(101, 101, 3)}
    assert [sample.label for sample in forward] == source.labels().tolist()


def test_pickles_carry_no_pixels(source: PhantomSource) -> None:
    source.sample(0, 1)
    assert len(pickle.dumps(source)) < 10_000


def test_all_four_classes_are_alike_often() -> None:
    source = PhantomSource(PhantomTileOptions(**AS_PAINTED))
    assert Counter(source.labels().tolist()) == dict.fromkeys(range(4), 3)
    ihc = [source.sample(index, 0) for index in range(4)]
    assert [sample.label for sample in ihc] == [0, 1, 2, 3]
    assert all(sample.he is None for sample in ihc)


def test_every_epoch_of_training_has_other_phantoms_but_a_test_has_not() -> None:
    train = PhantomSource(PhantomTileOptions(**AS_PAINTED))
    assert train.sample(3, 0).group != train.sample(3, 1).group
    test = PhantomSource(PhantomTileOptions(**AS_PAINTED, split="test"))
    assert np.array_equal(test.sample(3, 0).rgb, test.sample(3, 1).rgb)
    assert (train.domain, test.domain) == (TRAINING, HELD_OUT)


def test_a_label_is_the_rule_on_the_cells_of_the_tile() -> None:
    """The truth of a phantom, counted again the slow way."""
    phantom = make_phantom(draw_phantom(2, 40, TRAINING, 430))
    places = np.array([[100, 90], [197, 131], [211, 250]])
    counts = tile_counts(phantom, places, 101)
    for (x, y), row in zip(places, counts, strict=True):
        mine = [
            code
            for (cx, cy), code in zip(phantom.cells.xy_um / phantom.options.mpp_x, phantom.cells.classes, strict=True)
            if x <= cx < x + 101 and y <= cy < y + 101
        ]
        assert row.tolist() == np.bincount(mine, minlength=5).tolist()
    assert counts.sum() > 20


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ((20, 0, 0, 0, 0), 0),
        ((9, 0, 0, 0, 0), FEW),
        ((45, 5, 0, 0, 0), 0),
        ((44, 6, 0, 0, 0), 1),
        ((44, 0, 6, 0, 0), 2),
        ((44, 0, 0, 6, 0), 2),
        ((45, 0, 0, 0, 5), 2),
        ((44, 0, 0, 0, 6), 3),
    ],
)
def test_labels_follow_the_rule(cells: tuple[int, ...], label: int) -> None:
    assert tile_labels(np.array([cells]), 10, RuleOptions()).tolist() == [label]


def test_no_seed_is_in_two_splits_or_for_two_phantoms() -> None:
    grid = list(product(SPLIT_SEEDS, (0, 1, 2**32 - 1), (0, 1, 7, 10**6), (0, 15)))
    seeds = [phantom_seed(*arguments) for arguments in grid]
    assert len(set(seeds)) == len(grid)
    assert min(seeds) > max(options.seed for options in PRESETS.values())


@given(st.sampled_from(list(SPLIT_SEEDS)), st.integers(0, 2**32 - 1), st.integers(0, 2**30), st.integers(0, 15))
def test_a_seed_tells_its_split(split, seed: int, number: int, attempt: int) -> None:
    assert phantom_seed(split, seed, number, attempt) % 3 == SPLIT_SEEDS[split]


def test_bare_tiles_have_the_label_asked_for() -> None:
    options = {**AS_PAINTED, "tiles": 400, "bare_share": 0.3}
    labels = PhantomSource(PhantomTileOptions(**options)).labels()
    assert 0.2 < (labels == -1).mean() < 0.4
    bare = int(np.flatnonzero(labels == -1)[0])
    assert PhantomSource(PhantomTileOptions(**options)).sample(bare, 0).label == -1
    assert PhantomSource(PhantomTileOptions(**options, bare_label=0)).sample(bare, 0).label == 0


def test_kept_phantoms_are_painted_once_and_equal_painted_ones(tmp_path: Path) -> None:
    options = PhantomTileOptions(**AS_PAINTED, phantoms=4, pairs=True)
    kept, painted = PhantomSource(options, tmp_path), PhantomSource(options)
    for index in (10, 1, 5):
        assert np.array_equal(kept.sample(index, 0).rgb, painted.sample(index, 0).rgb)
        assert np.array_equal(kept.sample(index, 0).he, painted.sample(index, 0).he)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}
    assert len(files) == 4, "two phantoms: pixels and places"
    again = PhantomSource(options, tmp_path)
    assert again.sample(10, 0).group == kept.sample(10, 0).group == painted.sample(10, 0).group
    assert not np.array_equal(again.sample(10, 1).rgb, again.sample(10, 0).rgb), "cut elsewhere in the next epoch"
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")} == files


def test_a_damaged_kept_phantom_is_named(tmp_path: Path) -> None:
    options = PhantomTileOptions(**AS_PAINTED, phantoms=4)
    PhantomSource(options, tmp_path).sample(0, 0)
    (pixels,) = tmp_path.rglob("*.pixels.npy")
    pixels.write_bytes(pixels.read_bytes()[:5000])
    with pytest.raises(OutputError, match=r"0\.pixels\.npy: cannot be read"):
        PhantomSource(options, tmp_path).sample(0, 0)


def test_tiles_that_cannot_be_had_are_told() -> None:
    with pytest.raises(UsageError, match="no tile of 60 px with 400 tumour cells and class 1"):
        PhantomSource(PhantomTileOptions(tiles=4, tile_px=60, phantom_px=256, least_cells=400)).sample(1, 0)
    with pytest.raises(UsageError, match="need phantoms of twice that side"):
        PhantomSource(PhantomTileOptions(tile_px=200, phantom_px=256))


def test_asking_beyond_the_end_ends_a_loop() -> None:
    with pytest.raises(IndexError):
        PhantomSource(PhantomTileOptions(**AS_PAINTED)).sample(12, 0)
