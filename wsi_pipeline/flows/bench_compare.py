"""The product's reading beside other libraries' on the same slide, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from wsi_pipeline.errors import NothingToMeasureError
from wsi_pipeline.flows.bench_sides import SideRecord, in_turns, rate, ratio
from wsi_pipeline.flows.bench_work import tissue_amount, tissue_tiles
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import open_request
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import Slide
from wsi_pipeline.slide.peers import PEER_READERS, tile_reader
from wsi_pipeline.tiling import Grid, make_grid

Library = Literal["openslide", "tiffslide"]

MOST_REGIONS = 4
"""Regions that are read in each turn."""


class Area(NamedTuple):
    """What is read of a region, level-0 px: the box around its tiles with tissue, at once, or those one by one."""

    box_l0: Box
    tiles_l0: list[Box]


def require_reader(request: ScoreRequest, library: Library) -> None:
    """Raise UnsupportedSlideError unless the library opens the slide; else what opening the slide raises."""
    with open_request(request), tile_reader(library, request.slide, (0, 0)):
        pass


def compare_reading(request: ScoreRequest, library: Library, repeats: int) -> SideRecord:
    """Compare the reading of regions with `library`'s of the same tissue tiles, one by one, on one thread.

    Both leave arrays of RGB, tiles of the analysis's side at level 0; the file lies in the system's cache; both sides
    open the file anew for each turn, outside its time. Raises what opening raises, UnsupportedSlideError where
    `library` does not open the slide, CorruptSlideError where it fails at a tile, and NothingToMeasureError.
    """
    with open_request(request) as slide:
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        grid = Grid(grid.size_l0, grid.mpp_l0, (1, 1), grid.options)
        areas = find_areas(survey_slide(slide, grid, request), grid)
        reader = slide.info.reader
        origin = slide.info.bounds_origin_l0
    tiles_l0 = [tile for area in areas for tile in area.tiles_l0]
    if not tiles_l0:
        raise NothingToMeasureError(request.slide, "no region holds tissue to read")

    def ours() -> float:
        with open_request(request) as slide:
            return _timed(lambda: _read_regions(slide, areas))

    def theirs() -> float:
        with tile_reader(library, request.slide, origin) as read:
            return _timed(lambda: _read_tiles(read, tiles_l0))

    ours_s, theirs_s = in_turns(repeats, ours, theirs)
    count = len(tiles_l0)
    return SideRecord(
        name=library,
        what=f"reading {count} tissue tiles of {grid.options.tile_px} px at level 0, one thread: regions by "
        f"wsi-her2 ({reader}), tiles by {library}",
        ours_tiles_per_s=rate(count, ours_s),
        theirs_tiles_per_s=rate(count, theirs_s),
        ratio=ratio((count, ours_s), (count, theirs_s)),
        ours_tiles=count,
        theirs_tiles=count,
        ours_seconds=ours_s,
        theirs_seconds=theirs_s,
        theirs_versions=PEER_READERS[library](),
    )


def find_areas(survey: Survey, grid: Grid) -> list[Area]:
    """Return the regions with the most tissue, row by row; `grid` cuts level 0 itself."""
    fullest = sorted(survey.regions(grid), key=lambda region: -tissue_amount(survey, grid, region))[:MOST_REGIONS]
    found = []
    for region in sorted(fullest, key=lambda region: region.index):
        tiles = tissue_tiles(survey, grid, region)
        left, top = min(tile.x for tile in tiles), min(tile.y for tile in tiles)
        right, bottom = max(tile.right for tile in tiles), max(tile.bottom for tile in tiles)
        found.append(Area(Box(left, top, right - left, bottom - top), tiles))
    return found


def _read_regions(slide: Slide, areas: Sequence[Area]) -> None:
    """Read what covers the tissue of each region, at once."""
    for area in areas:
        slide.read_box(area.box_l0, 1)


def _read_tiles(read: Callable[[Box], object], tiles: Sequence[Box]) -> None:
    """Read one tile after the other."""
    for tile in tiles:
        read(tile)


def _timed(work: Callable[[], None]) -> float:
    """Return the seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
