"""Sharpness per tile."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsi_pipeline.tissue.focus import FocusOptions, sharpness


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_tile_has_its_own_variance(dtype: type) -> None:
    grey = np.random.default_rng(2).integers(0, 255, (70, 101)).astype(dtype)
    result = sharpness(grey, 32)
    laplacian = cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F)
    assert result.laplacian.shape == result.contrast.shape == (3, 4)
    for row in range(3):
        for column in range(4):
            tile = np.s_[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
            assert result.laplacian[row, column] == pytest.approx(laplacian[tile].var(), rel=1e-3)
            assert result.contrast[row, column] == pytest.approx(grey[tile].std(), rel=1e-3)


def test_a_blurred_tile_is_told_from_a_sharp_one_and_from_glass() -> None:
    rng = np.random.default_rng(4)
    sharp = np.where(cv2.resize(rng.random((32, 48)), (384, 256)) > 0.5, 200, 90).astype(np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4) + rng.normal(0, 0.7, sharp.shape).astype(np.float32)
    glass = 240 + rng.normal(0, 0.7, sharp.shape).astype(np.float32)
    verdicts = [sharpness(grey, 256).blurred(FocusOptions()).tolist() for grey in (sharp, blurred, glass)]
    assert verdicts == [[[False, False]], [[True, True]], [[False, False]]]


def test_the_limits_are_options() -> None:
    grey = np.random.default_rng(2).integers(0, 255, (40, 90)).astype(np.uint8)
    strict = FocusOptions(least_sharpness=1e9, least_ratio=1e9)
    assert sharpness(grey, 64).blurred(strict).all()
