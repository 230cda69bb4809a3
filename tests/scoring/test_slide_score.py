"""The slide-level record on counts whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.scoring.slide_score import bootstrap, score_tiles, shares_of

OPTIONS = RuleOptions(bootstrap_rounds=400)


def tiles(strong_percent: float, count: int = 200, cells: int = 40) -> np.ndarray:
    """`count` tiles alike, each with `strong_percent` of 3+ cells, the others 0."""
    strong = round(cells * strong_percent / 100)
    return np.tile([cells - strong, 0, 0, 0, strong], (count, 1))


@pytest.mark.parametrize(("percent", "score"), [(12.5, "3+"), (7.5, "2+"), (0, "0")])
def test_known_counts(percent: float, score: str) -> None:
    result = score_tiles(tiles(percent), 1.0, OPTIONS)
    assert result.score == score
    assert result.shares is not None
    assert result.shares.strong == pytest.approx(percent)
    assert result.tumour_cells == 8000


def test_even_tiles_are_certain_and_uneven_ones_borderline() -> None:
    even = score_tiles(tiles(12.5), 1.0, OPTIONS)
    assert even.interval is not None
    assert (even.interval.low, even.interval.high) == (12.5, 12.5)
    assert not even.borderline
    uneven = np.vstack([np.tile([0, 0, 0, 0, 40], (5, 1)), np.tile([40, 0, 0, 0, 0], (40, 1))])
    result = score_tiles(uneven, 1.0, OPTIONS)
    assert result.score == "3+"  # 11.1 %
    assert result.borderline
    assert result.interval is not None
    assert result.interval.low < 10 < result.interval.high


def test_too_few_cells_or_too_little_tissue_abstain() -> None:
    few = score_tiles(tiles(100, count=1, cells=99), 1.0, OPTIONS)
    assert (few.score, few.category, few.borderline) == ("not evaluable", "not evaluable", False)
    assert "99 tumour cells, at least 100" in few.reason
    assert score_tiles(tiles(100, count=1, cells=100), 1.0, OPTIONS).score == "3+"
    small = score_tiles(tiles(50), 0.01, OPTIONS)
    assert small.score == "not evaluable"
    assert "0.010 mm2" in small.reason


def test_no_cells_at_all() -> None:
    result = score_tiles(np.zeros((0, 5), np.int64), 1.0, OPTIONS)
    assert result.score == "not evaluable"
    assert result.shares is None
    assert result.interval is None


def test_interval_covers_the_true_share_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(120):
        share = generator.beta(2, 8, 60)  # tiles differ, mean 20 %
        strong = generator.binomial(30, share)
        counts = np.stack([30 - strong, 0 * strong, 0 * strong, 0 * strong, strong], axis=1)
        interval = bootstrap(counts, "strong", OPTIONS)
        hits += interval.low <= 20 <= interval.high
    assert 105 <= hits <= 120


def test_each_quantity_counts_its_classes() -> None:
    counts = np.array([[1, 2, 3, 4, 10]])
    for quantity in ("strong", "complete", "incomplete", "stained"):
        assert bootstrap(counts, quantity, OPTIONS).value == pytest.approx(getattr(shares_of(counts[0]), quantity))


@pytest.mark.parametrize(("percent", "low", "high"), [(95.0, 20.0, 60.0), (60.0, 20.0, 60.0), (30.0, 40.0, 40.0)])
def test_an_interval_has_a_tail_on_both_sides(percent: float, low: float, high: float) -> None:
    """Of two tiles of 10 cells, with 2 and 6 of class 3, a quarter of the draws gives 20, a half 40, a quarter 60 %."""
    counts = np.array([[8, 0, 0, 0, 2], [4, 0, 0, 0, 6]])
    options = RuleOptions(interval_percent=percent)
    found = bootstrap(counts, "strong", options)
    assert (found.value, found.low, found.high) == (40.0, low, high)
