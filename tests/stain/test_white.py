"""The white of a slide."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.stain.white import FALLBACK_DARKEST, estimate_white

SHAPE = (211, 337)


def _glass(colour: tuple[int, int, int], noise: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.clip(np.array(colour) + rng.normal(0, noise, (*SHAPE, 3)), 0, 255).astype(np.uint8)


def _tissue(picture: np.ndarray, rows: slice, columns: slice) -> None:
    """Put brown and blue speckle into `picture` in place."""
    rng = np.random.default_rng(3)
    part = picture[rows, columns]
    brown = rng.random(part.shape[:2]) < 0.5
    part[brown] = (130, 90, 50)
    part[~brown] = (120, 130, 180)
    picture[rows, columns] = part


def _all(picture: np.ndarray) -> np.ndarray:
    return np.ones(picture.shape[:2], dtype=bool)


@pytest.mark.parametrize("colour", [(243, 240, 238), (252, 252, 252), (178, 180, 176), (217, 214, 204)])
def test_glass_of_any_brightness_is_found(colour: tuple[int, int, int]) -> None:
    picture = _glass(colour)
    _tissue(picture, slice(20, 150), slice(40, 300))
    white = estimate_white(picture, _all(picture))
    assert white.source == "glass"
    assert white.rgb == pytest.approx(colour, abs=1.5)
    assert 0.3 < white.glass_share < 0.8


def test_pure_white_padding_and_boxes_are_not_glass() -> None:
    picture = _glass((240, 237, 235))
    _tissue(picture, slice(20, 150), slice(40, 250))
    picture[:90, 260:] = 255
    picture[60:110, 100:160] = 255
    white = estimate_white(picture, _all(picture))
    assert white.source == "glass"
    assert white.rgb == pytest.approx((240, 237, 235), abs=1.5)


def test_glass_that_the_scanner_clipped_to_white_is_glass() -> None:
    picture = np.full((*SHAPE, 3), 255, dtype=np.uint8)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    disc = (rows - 90.0) ** 2 + 0.5 * (columns - 150.0) ** 2 < 70.0**2
    picture[disc] = (226, 226, 230)
    white = estimate_white(picture, _all(picture))
    assert white.rgb == (255.0, 255.0, 255.0)
    assert white.source == "glass"


def test_what_was_never_scanned_does_not_count() -> None:
    picture = _glass((240, 240, 240))
    picture[:150] = (200, 200, 200)
    valid = _all(picture)
    valid[:150] = False
    assert estimate_white(picture, valid).rgb == pytest.approx((240, 240, 240), abs=1.5)


def test_vignetting_gives_a_white_within_the_glass() -> None:
    picture = _glass((240, 240, 240))
    fall_off = np.linspace(1.0, 0.93, SHAPE[1])[None, :, None]
    picture = (picture * fall_off).astype(np.uint8)
    white = estimate_white(picture, _all(picture))
    assert white.source == "glass"
    assert 223 <= white.green <= 240


def test_a_slide_filled_by_tissue_falls_back_to_its_brightest_pixels() -> None:
    picture = np.zeros((*SHAPE, 3), dtype=np.uint8)
    _tissue(picture, slice(None), slice(None))
    picture[::9, ::7] = (236, 228, 232)
    white = estimate_white(picture, _all(picture))
    assert white.source == "fallback"
    assert white.glass_share == 0
    assert white.rgb == pytest.approx((236, 228, 232), abs=1)


def test_the_fallback_stays_bright_and_nearly_neutral() -> None:
    picture = np.zeros((*SHAPE, 3), dtype=np.uint8)
    picture[::2, ::3] = (20, 40, 90)
    white = estimate_white(picture, _all(picture))
    assert white.source == "fallback"
    assert min(white.rgb) >= FALLBACK_DARKEST


def test_all_white_is_white_glass_and_nothing_scanned_is_a_fallback() -> None:
    picture = np.full((*SHAPE, 3), 255, dtype=np.uint8)
    assert estimate_white(picture, _all(picture)) == (255.0, 255.0, 255.0, "glass", 1.0)
    assert estimate_white(picture, ~_all(picture)).source == "fallback"
