"""Exact shares, island, and arcs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.phantom import CLASSES, TARGETS, Island, PhantomOptions, random_options
from wsi_pipeline.training.phantom.membranes import assign_classes, exact_counts, make_membranes


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda v: sum(v) > 0.1), st.integers(0, 4000))
def test_counts_add_up_and_are_within_one_of_the_mix(weights: list[float], total: int) -> None:
    mix = {name: weight / sum(weights) for name, weight in zip(CLASSES, weights, strict=True)}
    counts = exact_counts(mix, total)
    assert counts.sum() == total
    for count, name in zip(counts, CLASSES, strict=True):
        assert abs(count - mix[name] * total) < 1 + 1e-6


@pytest.mark.parametrize(
    ("target", "shares"),
    [
        ("null", (100, 0, 0, 0, 0)),
        ("ultralow", (94, 6, 0, 0, 0)),
        ("1+", (35, 65, 0, 0, 0)),
        ("2+", (15, 25, 50, 10, 0)),
        ("3+", (5, 8, 12, 0, 75)),
        ("9% 3+", (61, 30, 0, 0, 9)),
        ("12% 3+", (58, 30, 0, 0, 12)),
    ],
)
@pytest.mark.parametrize("arrangement", ["mixed", "patchy"])
def test_targets_hit_their_shares(target: str, shares: tuple[int, ...], arrangement: str) -> None:
    options = random_options(7, target).model_copy(update={"arrangement": arrangement})
    xy = np.random.default_rng(1).uniform(0, 500, (700, 2))
    classes, _ = assign_classes(options, xy, np.ones(700, dtype=bool))
    assert tuple(np.bincount(classes, minlength=5)) == tuple(7 * share for share in shares)


def test_targets_name_the_score_that_the_rule_gives() -> None:
    assert {name: rest[1:] for name, rest in TARGETS.items()} == {
        "null": ("0", "null"),
        "ultralow": ("0", "ultralow"),
        "1+": ("1+", "low"),
        "2+": ("2+", "equivocal"),
        "3+": ("3+", "positive"),
        "9% 3+": ("2+", "equivocal"),
        "12% 3+": ("3+", "positive"),
    }


def test_island_takes_the_nearest_cells_and_leaves_the_control_core_alone() -> None:
    xy = np.random.default_rng(2).uniform((0, 0), (600, 400), (500, 2))
    scored = xy[:, 0] < 450
    options = PhantomOptions(mix={"0": 0.6, "1": 0.4}, island=Island(x_um=120.0, y_um=90.0, share=0.2))
    classes, radius = assign_classes(options, xy, scored)
    away = np.hypot(xy[:, 0] - 120, xy[:, 1] - 90)
    island = (classes == CLASSES.index("3")) & scored
    assert island.sum() == round(0.2 * scored.sum())
    assert away[island].max() == pytest.approx(radius)
    assert away[scored & ~island].min() > radius
    assert (classes[~scored] == CLASSES.index("3")).all()


def test_patches_put_like_cells_together() -> None:
    xy = np.random.default_rng(3).uniform(0, 600, (900, 2))
    nearest = np.argsort(np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)), axis=1)[:, 1]
    mix = {"0": 0.5, "3": 0.5}
    same = {}
    for arrangement in ("mixed", "patchy"):
        options = PhantomOptions(mix=mix, arrangement=arrangement)
        classes, _ = assign_classes(options, xy, np.ones(len(xy), dtype=bool))
        same[arrangement] = float((classes == classes[nearest]).mean())
    assert same["mixed"] < 0.6
    assert same["patchy"] > 0.75


def test_arcs_sum_to_the_completeness_and_do_not_overlap() -> None:
    classes = np.tile(np.arange(5, dtype=np.int8), 60)
    membranes = make_membranes(PhantomOptions(seed=9), classes)
    length = membranes.arcs[..., 1].sum(axis=1)
    np.testing.assert_allclose(length, membranes.completeness, atol=1e-5)
    assert (membranes.completeness[classes == CLASSES.index("0")] == 0).all()
    weak = membranes.od[classes == CLASSES.index("1")]
    assert weak.min() >= 0.14
    assert weak.max() <= 0.25
    for start, share in zip(membranes.arcs[..., 0], membranes.arcs[..., 1], strict=True):
        used = np.flatnonzero(share > 0)
        order = used[np.argsort(start[used])]
        ends = start[order] + share[order]
        following = np.append(start[order][1:], start[order][:1] + 1)
        assert (ends <= following + 1e-5).all()


def test_a_mix_that_does_not_sum_to_one_is_refused() -> None:
    with pytest.raises(UsageError, match=r"sum to 1"):
        PhantomOptions(mix={"0": 0.5, "3": 0.4})
