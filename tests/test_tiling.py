"""The cut of a slide: every analysis px belongs to one tile of one region."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div
from wsi_pipeline.tiling import TilingOptions, make_grid, make_grid_at


@pytest.mark.parametrize(
    ("mpp", "downsample"),
    [(0.25, 1), (0.275, 1), (0.13, 2), (0.1375, 2), (0.14, 1), (0.0625, 4), (0.5, 1), (0.36, 1), (0.17, 1)],
)
def test_level_0_is_halved_while_it_stays_fine_enough(mpp: float, downsample: int) -> None:
    assert make_grid(Size(613, 389), Mpp(mpp, mpp * 0.99), TilingOptions()).ratio == (downsample, downsample)


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
    assert grid.ratio == (2, 2)
    assert grid.size_an == Size(307, 195)
    last = grid.tiles(grid.regions()[0])[1]
    assert last == Box(256, 0, 51, 195)
    assert grid.shown(last) == Box(512, 0, 101, 389)


def test_a_network_has_its_own_square_pixels() -> None:
    grid = make_grid_at(Size(1507, 1109), Mpp(0.25, 0.26), 0.46, TilingOptions(tile_px=64))
    assert grid.mpp == pytest.approx((0.46, 0.46))
    assert grid.size_an == Size(820, 627)  # 1507 * 0.25 / 0.46, 1109 * 0.26 / 0.46, rounded up
    first, second = grid.tiles(grid.regions()[0])[:2]
    assert grid.shown(first) == Box(0, 0, 118, 113)
    assert grid.shown(second).x == 118, "tiles meet on the slide"
    last = grid.tiles(grid.regions()[-1])[-1]
    assert (grid.shown(last).right, grid.shown(last).bottom) == (1507, 1109)
    assert grid.tile_number(last) == grid.tile_columns() * 10 - 1


@given(
    st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True), st.floats(0.1, 3), st.floats(0.1, 3),
    st.sampled_from([0.23, 0.46, 1.0]),
)  # fmt: skip
def test_points_are_found_in_their_tile(along: float, down: float, mpp_x: float, mpp_y: float, mpp: float) -> None:
    grid = make_grid_at(Size(613, 389), Mpp(mpp_x, mpp_y), mpp, TilingOptions(tile_px=64, region_tiles=2))
    x_l0, y_l0 = np.array([along * 613]), np.array([down * 389])
    number = int(grid.tiles_at(x_l0, y_l0)[0])
    holds = [
        grid.tile_number(tile) == number
        for region in grid.regions()
        for tile in grid.tiles(region)
        if tile.x <= x_l0[0] / grid.ratio[0] < tile.right and tile.y <= y_l0[0] / grid.ratio[1] < tile.bottom
    ]
    assert holds == [True]


def test_windows_of_tiles_cover_a_regions_map_once() -> None:
    grid = make_grid(Size(1613, 1389), Mpp(0.25, 0.26), TilingOptions(region_tiles=4))
    step = grid.options.map_px
    for region in grid.regions():
        covered = np.zeros([ceil_div(side, step) for side in reversed(region.core_an.size)], int)
        for tile in grid.tiles(region):
            window = grid.map_window(region, tile)
            assert covered[window].shape == (ceil_div(tile.height, step), ceil_div(tile.width, step))
            covered[window] += 1
        assert (covered == 1).all()


def test_a_point_belongs_to_the_tile_that_it_lies_in_to_the_last_part_of_a_px() -> None:
    grid = make_grid(Size(1000, 700), Mpp(0.25, 0.25), TilingOptions())
    x, y = np.array([255.9, 256.0, 511.99, 999.9, 1000.0]), np.array([255.99, 255.6, 256.0, 699.7, 700.0])
    assert grid.tiles_at(x, y).tolist() == [0, 1, 5, 11, 11]
