"""Area averaging against the sum written out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_pipeline.slide.model import LevelPixels
from wsi_pipeline.slide.resample import area_mean

RNG = np.random.default_rng(3)
SOURCE = RNG.integers(0, 256, (30, 42, 3), np.uint8)
HOLES = RNG.random((30, 42)) < 0.6


def direct_mean(source: LevelPixels, xs: list[Fraction], ys: list[Fraction]) -> tuple[np.ndarray, np.ndarray]:
    """Return unrounded mean (float64 holds these exactly enough) and validity by exact arithmetic, px by px."""
    valid = np.ones(source.rgb.shape[:2], bool) if source.valid is None else source.valid
    rgb = np.full((len(ys) - 1, len(xs) - 1, 3), 255.0)
    kept = np.zeros(rgb.shape[:2], bool)
    for j, i in np.ndindex(kept.shape):
        total, covered = [Fraction(0)] * 3, Fraction(0)
        for y in range(int(ys[j]), -int(-ys[j + 1] // 1)):
            for x in range(int(xs[i]), -int(-xs[i + 1] // 1)):
                area = (min(xs[i + 1], x + 1) - max(xs[i], x)) * (min(ys[j + 1], y + 1) - max(ys[j], y))
                if valid[y, x]:
                    covered += area
                    total = [part + area * int(value) for part, value in zip(total, source.rgb[y, x], strict=True)]
        kept[j, i] = covered * 2 >= (xs[i + 1] - xs[i]) * (ys[j + 1] - ys[j])
        if kept[j, i]:
            rgb[j, i] = [float(part / covered) for part in total]
    return rgb, kept


def edges(start: Fraction, step: Fraction, count: int) -> list[Fraction]:
    return [start + step * index for index in range(count + 1)]


def as_floats(values: list[Fraction]) -> np.ndarray:
    return np.array([float(value) for value in values])


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(
    ("step_x", "step_y", "start"),
    [
        (Fraction(3), Fraction(2), Fraction(0)),
        (Fraction(6), Fraction(6), Fraction(0)),
        (Fraction(3, 2), Fraction(3, 2), Fraction(1, 4)),
        (Fraction(1225, 613), Fraction(775, 389), Fraction(1, 3)),
    ],
)
def test_means_are_those_of_the_sum_written_out(
    step_x: Fraction, step_y: Fraction, start: Fraction, holes: bool
) -> None:
    source = LevelPixels(SOURCE, HOLES if holes else None)
    xs = edges(start, step_x, int((42 - start) / step_x))
    ys = edges(start, step_y, int((30 - start) / step_y))
    result = area_mean(source, as_floats(xs), as_floats(ys))
    rgb, kept = direct_mean(source, xs, ys)
    assert np.abs(result.rgb - rgb).max() <= 0.5 + 1e-6  # ties: OpenCV rounds to even, the general path upwards
    assert np.array_equal(np.ones_like(kept) if result.valid is None else result.valid, kept)


def test_own_pixel_borders_leave_the_pixels_alone() -> None:
    source = LevelPixels(SOURCE, None)
    assert area_mean(source, np.arange(43.0), np.arange(31.0)) is source


def test_a_hole_does_not_bleed_into_the_mean() -> None:
    rgb = np.full((2, 4, 3), 255, np.uint8)
    rgb[:, :3] = 40
    valid = np.array([[True, True, True, False], [True, True, False, False]])
    result = area_mean(LevelPixels(rgb, valid), np.array([0.0, 2, 4]), np.array([0.0, 2]))
    assert result.rgb[0, :, 0].tolist() == [40, 255]
    assert result.valid is not None
    assert result.valid.tolist() == [[True, False]]


@pytest.mark.parametrize("step", [1.92, 1.25, 3.5, 1225 / 613])
def test_a_hole_changes_no_pixel_that_it_is_not_in(step: float) -> None:
    """What is whole is summed in float32, what has holes in float64: both round alike, also at ties."""
    random = np.random.default_rng(11)
    rgb = random.integers(0, 256, (310, 470, 3), np.uint8)
    rgb[:, 200:] = 3 + random.integers(0, 2, (310, 270, 3), np.uint8)  # means of few values are often halves
    holes = np.ones(rgb.shape[:2], bool)
    holes[:, 0] = False
    xs, ys = 0.25 + np.arange(int(469 / step) + 1) * step, 0.5 + np.arange(int(309 / step) + 1) * step
    whole = area_mean(LevelPixels(rgb, None), xs, ys).rgb
    assert np.array_equal(area_mean(LevelPixels(rgb, holes), xs, ys).rgb[:, 1:], whole[:, 1:])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 11), st.integers(2, 5), st.integers(1, 3), st.booleans())
def test_the_cut_does_not_matter(cut: int, numerator: int, denominator: int, holes: bool) -> None:
    source = LevelPixels(SOURCE, HOLES if holes else None)
    step = numerator / denominator
    count = int(42 / step)
    xs, ys = np.arange(count + 1) * numerator / denominator, np.array([0.0, step, 2 * step])
    whole = area_mean(source, xs, ys)
    cut = min(cut, count - 1)
    first = int(np.floor(xs[cut]))
    tail = LevelPixels(source.rgb[:, first:], None if source.valid is None else source.valid[:, first:])
    assert np.array_equal(area_mean(tail, xs[cut:] - first, ys).rgb, whole.rgb[:, cut:])
