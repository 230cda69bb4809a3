"""Level factors and level choice: pure functions over sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.levels import make_levels, pick_level, whole_factor
from wsi_pipeline.slide.model import Level

TILE = Size(64, 64)


@pytest.mark.parametrize(
    ("full", "reduced", "factor"),
    [
        (Size(4443, 3567), Size(2221, 1783), 2),  # reported as 2.0005
        (Size(613, 389), Size(153, 97), 4),  # 4.0085, rounded down
        (Size(613, 389), Size(154, 98), 4),  # rounded up
        (Size(613, 389), Size(9, 6), 64),  # tiny level: 61 to 71 would fit, the power of two wins
        (Size(613, 389), Size(245, 155), None),  # 2.5: no whole number
        (Size(613, 389), Size(204, 129), 3),
        (Size(613, 389), Size(153, 130), None),  # axes disagree
        (Size(1, 1), Size(1, 1), 1),
    ],
)
def test_whole_factor_is_found_where_sizes_allow_it(full: Size, reduced: Size, factor: int | None) -> None:
    assert whole_factor(full, reduced) == factor


@given(
    st.integers(300, 200_000),
    st.integers(300, 200_000),
    st.integers(0, 6),
    st.booleans(),
)
def test_halving_pyramids_have_power_of_two_factors(width: int, height: int, times: int, up: bool) -> None:
    size = Size(width, height)
    for _ in range(times):
        size = Size((size.width + up) // 2, (size.height + up) // 2)
    assert whole_factor(Size(width, height), size) == 2**times


def test_without_a_whole_number_the_ratio_per_axis_counts() -> None:
    level = make_levels([Size(613, 389), Size(245, 155)], [1.0, 2.506], [TILE, TILE])[1]
    assert (level.factor_x, level.factor_y) == (613 / 245, 389 / 155)
    assert level.downsample == 2.506


def pyramid(*factors: float) -> list[Level]:
    return [Level(Size(613, 389), factor, factor, factor, TILE) for factor in factors]


@pytest.mark.parametrize(
    ("factors", "downsample", "index"),
    [
        ((1, 4, 16), 1, 0),
        ((1, 4, 16), 3, 0),
        ((1, 4, 16), 4, 1),
        ((1, 4, 16), 15, 1),
        ((1, 4, 16), 64, 2),
        ((1, 4.0002, 16), 4, 1),
        ((1, 4.1, 16), 4, 0),
        ((1, 2.5), 2, 0),
        ((1, 2.5), 3, 1),
        ((1,), 64, 0),
    ],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(
    factors: tuple[float, ...], downsample: int, index: int
) -> None:
    assert pick_level(pyramid(*factors), downsample) == index
