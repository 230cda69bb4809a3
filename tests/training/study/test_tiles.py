"""Tiles that are measured."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra: pip install '.[train]'")

from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.training.data.patches import PatchOptions
from wsi_pipeline.training.study.tiles import cut_tile, side_in, tile_boxes


@given(st.integers(1, 1300), st.integers(1, 900), st.integers(7, 300), st.integers(1, 20))
def test_tiles_lie_inside_and_never_overlap(width: int, height: int, side: int, most: int) -> None:
    boxes = tile_boxes(Size(width, height), side, most)
    assert len(boxes) == min(most, (width // side) * (height // side))
    for box in boxes:
        assert (box.width, box.height) == (side, side)
        assert box.x >= 0 <= box.y
        assert box.right <= width
        assert box.bottom <= height
    for one, other in pairwise(boxes):
        assert abs(one.x - other.x) >= side or abs(one.y - other.y) >= side
    corners = {(box.x, box.y) for box in boxes}
    assert len(corners) == len(boxes)


def test_a_tile_is_what_lies_under_its_box() -> None:
    image = np.random.default_rng(5).integers(0, 255, (97, 131, 3), dtype=np.uint8)
    tile = cut_tile(image, Box(31, 11, 40, 40), 40)
    assert (tile == image[11:51, 31:71]).all()
    half = cut_tile(image, Box(31, 11, 40, 40), 20)
    assert half.shape == (20, 20, 3)
    assert abs(float(half.mean()) - float(tile.mean())) < 1


def test_the_side_in_a_patch_follows_the_pixel_sizes() -> None:
    assert side_in(PatchOptions(tile_px=256, mpp_in=0.25, mpp_out=0.46)) == 471
