"""Optical density and unmixing against Beer-Lambert."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.stain.density import STRIP_ROWS, StainVectors, optical_density, unmix

WHITE = (241.0, 236.0, 229.0)


def stained(hematoxylin: float, dab: float, shape: tuple[int, int] = (5, 7)) -> np.ndarray:
    """Render a flat patch of known densities, unrounded grey levels rounded once."""
    vectors = StainVectors()
    pair = np.array([vectors.hematoxylin, vectors.dab])
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    od = hematoxylin * pair[0] + dab * pair[1]
    grey = np.array(WHITE) * 10.0**-od
    return np.broadcast_to(np.rint(grey).astype(np.uint8), (*shape, 3)).copy()


@given(st.floats(0, 0.9), st.floats(0, 0.9))
def test_unmixing_returns_what_was_mixed(hematoxylin: float, dab: float) -> None:
    found = unmix(stained(hematoxylin, dab), WHITE, StainVectors())
    # half a grey level of a dark channel is the limit of 8 bits
    assert found.hematoxylin[2, 3] == pytest.approx(hematoxylin, abs=0.05)
    assert found.dab[2, 3] == pytest.approx(dab, abs=0.05)


def test_glass_and_brighter_have_no_density() -> None:
    glass = np.array([[[241, 236, 229], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(optical_density(glass, WHITE), 0)
    found = unmix(glass, WHITE, StainVectors())
    np.testing.assert_allclose(found.dab, 0, atol=1e-6)


def test_density_is_the_decadic_logarithm_and_black_is_finite() -> None:
    pixel = np.array([[[24, 118, 0]]], np.uint8)
    expected = [np.log10(241 / 24), np.log10(236 / 118), np.log10(229 / 1)]
    np.testing.assert_allclose(optical_density(pixel, WHITE)[0, 0], expected, rtol=1e-6)


def test_strips_equal_the_whole() -> None:
    rgb = np.random.default_rng(2).integers(20, 250, (3 * STRIP_ROWS + 5, 41, 3), dtype=np.uint8)
    whole = unmix(rgb, WHITE, StainVectors())
    for row in (0, STRIP_ROWS - 1, STRIP_ROWS, 2 * STRIP_ROWS + 3, 3 * STRIP_ROWS + 4):
        alone = unmix(rgb[row : row + 1], WHITE, StainVectors())
        np.testing.assert_allclose(alone.dab[0], whole.dab[row], atol=1e-6)
        np.testing.assert_allclose(alone.hematoxylin[0], whole.hematoxylin[row], atol=1e-6)


def test_vectors_of_any_length_unmix_alike() -> None:
    rgb = stained(0.4, 0.3)
    longer = StainVectors(hematoxylin=(1.3, 1.4, 0.58), dab=(0.54, 1.14, 1.56))
    np.testing.assert_allclose(unmix(rgb, WHITE, longer).dab, unmix(rgb, WHITE, StainVectors()).dab, atol=1e-5)
