"""Boxes and cuts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div, cut

boxes = st.builds(Box, st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 60), st.integers(0, 60))


def test_cut_of_a_known_size() -> None:
    assert list(cut(Size(5, 3), 2)) == [
        Box(0, 0, 2, 2), Box(2, 0, 2, 2), Box(4, 0, 1, 2), Box(0, 2, 2, 1), Box(2, 2, 2, 1), Box(4, 2, 1, 1),
    ]  # fmt: skip


@given(boxes, boxes)
def test_intersection_is_symmetric_and_inside_both(one: Box, other: Box) -> None:
    common = one.intersection(other)
    assert common == other.intersection(one)
    assert common.area <= min(one.area, other.area)
    if common.area:
        assert one.x <= common.x < common.right <= one.right
        assert other.y <= common.y < common.bottom <= other.bottom


def test_padding_and_scaling() -> None:
    assert Box(3, 4, 5, 7).padded(2) == Box(1, 2, 9, 11)
    assert Box(3, 4, 5, 7).scaled(4) == Box(12, 16, 20, 28)
    assert Mpp(0.25, 0.26).scaled(4) == Mpp(1.0, 1.04)


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_ceil_div_is_exact(numerator: int, denominator: int) -> None:
    result = ceil_div(numerator, denominator)
    assert (result - 1) * denominator < numerator <= result * denominator


def test_slices_of_a_box_in_a_frame() -> None:
    frame, box = Box(100, 40, 60, 30), Box(112, 45, 7, 21)
    assert box.slices_in(frame) == (slice(5, 26), slice(12, 19))
    assert frame.slices_in(frame) == (slice(0, 30), slice(0, 60))
