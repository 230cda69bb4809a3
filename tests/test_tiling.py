"""The cut of a slide: every analysis px belongs to one tile of one region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div
from wsi_pipeline.tiling import TilingOptions, make_grid


@pytest.mark.parametrize(
    ("mpp", "downsample"),
    [(0.25, 1), (0.275, 1), (0.13, 2), (0.1375, 2), (0.14, 1), (0.0625, 4), (0.5, 1), (0.36, 1), (0.17, 1)],
)
def test_level_0_is_halved_while_it_stays_fine_enough(mpp: float, downsample: int) -> None:
    assert make_grid(Size(613, 389), Mpp(mpp, mpp * 0.99), TilingOptions()).downsample == downsample


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 3), st.sampled_from([0.06, 0.13, 0.25, 0.5]))
def test_tiles_cover_every_px_once(width: int, height: int, region_tiles: int, mpp: float) -> None:
    grid = make_grid(Size(width, height), Mpp(mpp, mpp), TilingOptions(region_tiles=region_tiles))
    seen = np.zeros((grid.size_an.height, grid.size_an.width), np.uint8)
    for region in grid.regions():
        for tile in grid.tiles(region):
            assert region.core_an.intersection(tile) == tile
            seen[tile.y : tile.bottom, tile.x : tile.right] += 1
    assert (seen == 1).all()
    assert grid.tile_columns() == ceil_div(grid.size_an.width, 256)


def test_shown_tiles_end_at_the_slide() -> None:
    grid = make_grid(Size(613, 389), Mpp(0.13, 0.12), TilingOptions())
    assert grid.downsample == 2
    assert grid.size_an == Size(307, 195)
    last = grid.tiles(grid.regions()[0])[1]
    assert last == Box(256, 0, 51, 195)
    assert grid.shown(last) == Box(512, 0, 101, 389)
