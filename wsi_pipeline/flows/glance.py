"""A guess at stain and white from a look at the slide, where its pixel size may be unknown."""

from __future__ import annotations

import math

import numpy as np

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import Slide
from wsi_pipeline.stain.detect import StainGuess, detect_stain
from wsi_pipeline.stain.white import WhitePoint, estimate_white

OVERVIEW_PX = 1024
"""Longest side of the look, px, rounded to a whole downsample."""

PATCH_PX = 512
"""Side of the places looked at closely, level-0 px."""

PATCHES = 8


def glance(slide: Slide) -> tuple[StainGuess, WhitePoint]:
    """Return the guess and the white; the darkest places stand for tissue, since nothing is masked here."""
    step = 1 << max(math.ceil(math.log2(max(slide.info.size_l0) / OVERVIEW_PX)), 0)
    view = slide.overview(step)
    white = estimate_white(view.rgb, view.valid)
    darkness = np.where(view.valid, 255.0 - view.rgb.min(axis=2), -1.0)
    side = max(PATCH_PX // step, 1)
    patches = []
    for _ in range(PATCHES):
        row, column = np.unravel_index(int(darkness.argmax()), darkness.shape)
        if darkness[row, column] < 0:
            break
        top, left = max(int(row) - side // 2, 0), max(int(column) - side // 2, 0)
        darkness[top : top + side, left : left + side] = -1.0
        patches.append(slide.read_box(Box(left * step, top * step, PATCH_PX, PATCH_PX), 1).rgb)
    return detect_stain(patches, white.rgb), white
