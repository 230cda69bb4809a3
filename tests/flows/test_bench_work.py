"""What a run has before it: which tiles hold tissue, and which regions stand for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.flows.bench_compare import MOST_REGIONS, find_areas
from wsi_pipeline.flows.bench_work import Load, Work, spread_evenly, take_sample, tissue_amount, tissue_tiles
from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.tiling import Grid, TilingOptions

SIZE = Size(1003, 739)


class Looked:
    """A survey that holds a tissue mask of one value per map px of `grid`."""

    def __init__(self, grid: Grid, tissue: np.ndarray) -> None:
        self.grid, self.tissue = grid, tissue

    def at(self, grid: Grid, box: Box) -> tuple[np.ndarray, None]:
        map_px = grid.options.map_px
        rows, columns = (slice(a // map_px, -(-b // map_px)) for a, b in ((box.y, box.bottom), (box.x, box.right)))
        return self.tissue[rows, columns], None

    def regions(self, grid: Grid) -> list[Any]:
        return [region for region in grid.regions() if self.at(grid, region.core_an)[0].any()]


@pytest.fixture
def grid() -> Grid:
    """Return the cut of a slide into tiles of 64 px and regions of 3 x 3 tiles; the last ones are narrow."""
    return Grid(SIZE, Mpp(0.25, 0.26), (1, 1), TilingOptions(tile_px=64, region_tiles=3, map_px=8))


def mask(*boxes: Box) -> np.ndarray:
    """Return the tissue mask, map px, that is true in these boxes, px."""
    tissue = np.zeros((93, 126), bool)
    for box in boxes:
        tissue[box.y // 8 : -(-box.bottom // 8), box.x // 8 : -(-box.right // 8)] = True
    return tissue


def test_a_tile_counts_when_one_map_px_of_it_is_tissue(grid: Grid) -> None:
    survey: Any = Looked(grid, mask(Box(200, 64, 8, 8), Box(383, 191, 1, 1)))
    region = grid.regions()[1]
    assert region.core_an == Box(192, 0, 192, 192)
    assert tissue_tiles(survey, grid, region) == [Box(192, 64, 64, 64), Box(320, 128, 64, 64)]
    assert tissue_tiles(survey, grid, region, full=True) == []
    assert tissue_amount(survey, grid, region) == 2


def test_a_cropped_tile_at_the_corner_can_be_full(grid: Grid) -> None:
    survey: Any = Looked(grid, mask(Box(960, 704, 43, 35)))
    region = grid.regions()[-1]
    assert tissue_tiles(survey, grid, region, full=True) == [Box(960, 704, 43, 35)]


@given(st.lists(st.tuples(st.integers(0, 1002), st.integers(0, 738)), min_size=1, max_size=9))
def test_the_tiles_of_all_regions_are_those_that_hold_a_point_of_tissue(points: list[tuple[int, int]]) -> None:
    grid = Grid(SIZE, Mpp(0.25, 0.26), (1, 1), TilingOptions(tile_px=64, region_tiles=3, map_px=8))
    survey: Any = Looked(grid, mask(*(Box(x, y, 1, 1) for x, y in points)))
    found = [(tile.x, tile.y) for region in grid.regions() for tile in tissue_tiles(survey, grid, region)]
    assert len(found) == len(set(found))
    assert set(found) == {(x // 64 * 64, y // 64 * 64) for x, y in points}


def test_areas_cover_the_tissue_of_the_fullest_regions(grid: Grid) -> None:
    boxes = [Box(8, 8, 9, 9), Box(200, 0, 100, 130), Box(0, 200, 60, 60), Box(900, 600, 90, 90), Box(400, 400, 50, 70)]
    areas = find_areas(Looked(grid, mask(*boxes)), grid)  # type: ignore[arg-type]
    assert len(areas) == MOST_REGIONS == len(boxes) - 1  # the emptiest is left out
    assert areas[0].box_l0 == Box(192, 0, 128, 192)
    assert areas[0].tiles_l0 == [Box(x, y, 64, 64) for y in (0, 64, 128) for x in (192, 256)]


@pytest.mark.parametrize(
    ("length", "count", "places"),
    [(10, 2, [2, 7]), (10, 10, list(range(10))), (3, 8, [0, 1, 2]), (7, 3, [1, 3, 5]), (1, 8, [0]), (100, 1, [50])],
)
def test_samples_stand_for_equal_shares(length: int, count: int, places: list[int]) -> None:
    assert spread_evenly(length, count) == places


def test_each_pass_has_its_own_load(grid: Grid) -> None:
    class Plan:
        virtual, measures_cells = False, True

    work = Work(tuple(grid.regions()[:5]), tuple(grid.regions()[:2]), 31, 17)
    assert work.loads(Plan()) == {  # type: ignore[arg-type]
        "process_stain_region": Load(0, 5), "process_tile_region": Load(17, 2), "process_region": Load(5, 5),
    }  # fmt: skip
    assert work.main_tiles == 31
    alone = Work((), tuple(grid.regions()[:2]), 0, 17)
    assert (alone.main_tiles, alone.main_regions) == (17, alone.tile_regions)


def test_a_classifier_is_measured_on_the_same_share_of_its_own_regions(grid: Grid) -> None:
    class Plan:
        virtual, tile_grid = False, Grid(SIZE, Mpp(0.25, 0.26), (1, 1), TilingOptions(tile_px=64, region_tiles=2))

    plan: Any = Plan()
    plan.grid = grid
    survey: Any = Looked(grid, mask(Box(0, 0, 1003, 739)))
    own, other = tuple(grid.regions()), tuple(plan.tile_grid.regions())
    assert (len(own), len(other)) == (24, 48)
    sample = take_sample(plan, survey, Work(own, other, 1, 1), 6)
    assert set(sample.boxes_l0) < {region.core_an for region in own}
    assert set(sample.tile_boxes_l0) < {region.core_an for region in other}
    assert (len(sample.boxes_l0), len(sample.tile_boxes_l0)) == (6, 12)
    assert take_sample(plan, survey, Work((), other, 0, 1), 6).tile_boxes_l0 == []
    plan.virtual = True  # a stain's regions are nearly those of the tiles, and are not made twice
    assert take_sample(plan, survey, Work(own, other, 1, 1), 6).tile_boxes_l0 == []
