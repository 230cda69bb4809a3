"""The colour of a pixel in optical density."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.tissue.colour import colour_of, disc


@pytest.mark.parametrize(
    ("vector", "hue"), [((0.65, 0.70, 0.29), 66), ((0.07, 0.99, 0.11), 122), ((0.27, 0.57, 0.78), 204)]
)
def test_the_hue_of_each_stain_is_the_published_one(vector: tuple[float, float, float], hue: float) -> None:
    density = np.full((3, 5, 3), vector, dtype=np.float32) * np.float32(0.4)
    colour = colour_of(density)
    assert colour.density == pytest.approx(density.mean(axis=2), rel=1e-5)
    assert colour.chroma == pytest.approx(density.std(axis=2), rel=1e-4)
    assert colour.relative == pytest.approx(density.std(axis=2) / density.mean(axis=2), rel=1e-4)
    assert colour.hue == pytest.approx(np.full((3, 5), hue), abs=1.0)
    assert all(part.dtype == np.float32 and part.shape == (3, 5) for part in colour)


def test_grey_has_no_chroma_and_glass_no_relative_chroma() -> None:
    assert colour_of(np.full((2, 3, 3), 0.3, np.float32)).chroma.max() < 1e-6
    assert colour_of(np.zeros((2, 3, 3), np.float32)).relative.max() == 0


@pytest.mark.parametrize(("radius", "side"), [(0.2, 3), (1.0, 3), (3.4, 7)])
def test_a_disc_is_at_least_three_pixels_wide(radius: float, side: int) -> None:
    assert disc(radius).shape == (side, side)
