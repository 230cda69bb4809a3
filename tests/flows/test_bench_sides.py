"""Two sides take turns, and their figures are medians of turns."""

from __future__ import annotations

import pytest

from wsi_pipeline.flows.bench_peers import rate_without_start
from wsi_pipeline.flows.bench_sides import in_turns, rate, ratio


def test_both_sides_take_turns() -> None:
    order: list[str] = []

    def side(name: str, seconds: list[float]) -> float:
        order.append(name)
        return seconds.pop(0)

    ours, theirs = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    found = in_turns(3, lambda: side("ours", ours), lambda: side("theirs", theirs))
    assert order == ["ours", "theirs"] * 3
    assert found == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def test_a_rate_is_the_median_of_the_turns() -> None:
    assert rate(12, (1.0, 4.0, 3.0)) == 4.0


def test_a_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians() -> None:
    ours, theirs = (10, (1.0, 2.0, 5.0)), (20, (8.0, 4.0, 10.0))
    # tiles/s: ours 10, 5, 2 beside theirs 2.5, 5, 2
    assert ratio(ours, theirs) == 1.0
    assert ratio(theirs, ours) == 1.0
    assert ratio((10, (1.0,)), (20, (8.0,))) == 4.0


def test_what_a_run_takes_longer_than_one_tile() -> None:
    assert rate_without_start(101, (12.0, 13.0, 30.0), (10.0, 8.0, 10.0)) == pytest.approx(100 / 5)


@pytest.mark.parametrize("seconds", [(9.0, 11.0), (10.5, 11.5)])
def test_noise_is_no_rate(seconds: tuple[float, float]) -> None:
    assert rate_without_start(101, seconds, (10.0, 10.0)) is None
