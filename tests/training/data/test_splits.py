"""Splits by slide and patient."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.data.splits import (
    complete_splits,
    groups_of,
    of_split,
    require_no_leak,
    split_patches,
)

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def patch(number: int, label: int | None, slide: str, patient: str = "", **more) -> Patch:
    return Patch(Path(f"{number:04d}.png"), label, slide, patient or slide, **more)


patch_sets = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, None]), st.integers(0, 14), st.integers(0, 11), st.booleans()),
    min_size=1,
    max_size=60,
).map(
    lambda rows: [
        patch(k, label, f"s{slide}", f"p{patient}" if patient < 5 else "", synthetic=made and slide % 5 == 0)
        for k, (label, slide, patient, made) in enumerate(rows)
    ]
)


@given(patch_sets, st.integers(0, 2**31), st.randoms())
def test_no_split_leaks_none_is_empty_and_order_does_not_matter(patches, seed, shuffler) -> None:
    real = [group for group in groups_of(patches) if not any(patches[k].synthetic for k in group)]
    if len(real) < (2 if any(one.synthetic for one in patches) else 3):
        with pytest.raises(UsageError, match="cannot fill train, val, test"):
            split_patches(patches, SHARES, seed)
        return
    done = split_patches(patches, SHARES, seed)
    require_no_leak(done)
    assert [replace(one, split=None) for one in done] == patches
    assert {one.split for one in done} == set(SHARES)
    shuffled = list(patches)
    shuffler.shuffle(shuffled)
    assert set(split_patches(shuffled, SHARES, seed)) == set(done)


@given(st.integers(0, 2**31))
def test_every_label_is_shared_as_asked(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patches = [patch(k, int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])), f"s{k // 4}") for k in range(800)]
    done = split_patches(patches, SHARES, seed)
    total = Counter(one.label for one in done)
    found = Counter((one.split, one.label) for one in done)
    for split, share in SHARES.items():
        for label in range(4):
            assert abs(found[split, label] / total[label] - share) < 0.06


def test_the_seed_decides() -> None:
    patches = [patch(k, k % 4, f"s{k // 3}") for k in range(120)]
    splits = {tuple(one.split for one in split_patches(patches, SHARES, seed)) for seed in (1, 1, 2)}
    assert len(splits) == 2


def test_patients_tie_slides_and_slides_tie_patients() -> None:
    patches = [patch(0, 0, "a", "p"), patch(1, 0, "b", "p"), patch(2, 0, "b", "q"), patch(3, 0, "c", "r")]
    assert sorted(map(sorted, groups_of(patches))) == [[0, 1, 2], [3]]


def test_groups_with_synthetic_images_go_to_training() -> None:
    patches = [patch(k, k % 4, f"s{k // 4}", synthetic=k // 4 in (2, 5) and k % 4 == 0) for k in range(40)]
    for seed in range(10):
        done = split_patches(patches, SHARES, seed)
        assert {one.split for one in done if one.slide in ("s2", "s5")} == {"train"}


@pytest.mark.parametrize(
    ("spoilt", "complaint"),
    [
        (patch(1, 0, "a", split="test"), r"0001\.png: slide 'a' is in test here and in train with 0000\.png"),
        (patch(1, 0, "b", "a", split="val"), r"0001\.png: patient 'a' is in val here and in train"),
        (patch(1, 0, "b", split="val", synthetic=True), r"0001\.png: a synthetic image is in val"),
        (patch(1, 0, "b", split="test", synthetic=True), r"0001\.png: a synthetic image is in test"),
    ],
)
def test_a_leak_is_refused_and_named(spoilt: Patch, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        require_no_leak([patch(0, 0, "a", split="train"), spoilt])


def test_layouts_splits_stay_and_validation_is_cut_from_training() -> None:
    patches = [patch(k, k % 4, f"s{k // 4}", split="test" if k >= 80 else "train") for k in range(100)]
    done = complete_splits(patches, SHARES, 3)
    assert of_split(done, "test") == patches[80:]
    assert len(of_split(done, "val")) == pytest.approx(20, abs=4)
    assert complete_splits(done, SHARES, 9) == done
    whole = [replace(one, split=None) for one in patches]
    assert complete_splits(whole, SHARES, 3) == split_patches(whole, SHARES, 3)


def test_a_layout_that_leaks_is_refused() -> None:
    patches = [patch(k, 0, f"s{k % 7}", split="test" if k > 15 else "train") for k in range(20)]
    with pytest.raises(UsageError, match=r"slide 's[0-9]' is in test here and in"):
        complete_splits(patches, SHARES, 0)


@pytest.mark.parametrize(
    ("patches", "complaint"),
    [
        ([patch(0, 0, "a", split="train"), patch(1, 0, "b")], r"0001\.png: it has no split while others have one"),
        ([patch(0, 0, "a", split="test"), patch(1, 0, "b", split="val")], "no training patches"),
        ([patch(0, 0, "a"), patch(1, 0, "a"), patch(2, 0, "b")], "2 slides or patients of real images cannot fill"),
    ],
)
def test_what_cannot_be_split_is_told(patches: list[Patch], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        complete_splits(patches, SHARES, 0)


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 0.5, "dev": 0.5}])
def test_shares_that_make_no_sense(shares) -> None:
    with pytest.raises(UsageError, match="make no sense"):
        split_patches([patch(0, 0, "a")], shares, 0)
