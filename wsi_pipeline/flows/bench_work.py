"""What a run of a whole slide has before it, and the part of it on which a benchmark measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wsi_pipeline.errors import NothingToMeasureError
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.flows.tile_region import TilePlan, TileTask, chosen_tiles
from wsi_pipeline.geometry import Box
from wsi_pipeline.tiling import Grid, Region

LEAST_REGIONS = 2
"""Regions of model tiles in a sample, where there are as many."""


class Load(NamedTuple):
    """What one pass has to do: `units` of work (regions, or tiles of the classifier), spread over `regions` tasks."""

    units: int
    regions: int


class Sample(NamedTuple):
    """Regions that stand for the slide, level-0 px.

    `tile_boxes_l0`: those of model tiles, where they are cut otherwise than those of the cells. A pass has to be
    measured on regions of its own: in the corners of others it reads much for few tiles.
    """

    boxes_l0: list[Box]
    tile_boxes_l0: list[Box]


@dataclass(frozen=True)
class Work:
    """What a run of the whole slide has before it; `tiles` hold any tissue, `model_tiles` enough for a classifier."""

    regions: tuple[Region, ...]
    """Regions in which cells are measured or a stain is made."""
    tile_regions: tuple[Region, ...]
    """Regions of model tiles."""
    tiles: int
    model_tiles: int

    @property
    def main_regions(self) -> tuple[Region, ...]:
        """The regions of which a benchmark takes its sample: those of the cells, else those of model tiles."""
        return self.regions or self.tile_regions

    @property
    def main_tiles(self) -> int:
        """How many tiles those regions have."""
        return self.tiles if self.regions else self.model_tiles

    def loads(self, plan: RunPlan) -> dict[str, Load]:
        """Return function of a pass -> what it has to do."""
        regions = len(self.regions)
        return {
            "process_stain_region": Load(regions if plan.virtual else 0, regions),
            "process_tile_region": Load(self.model_tiles, len(self.tile_regions)),
            "process_region": Load(regions if plan.measures_cells else 0, regions),
        }


def count_work(plan: RunPlan, survey: Survey, batch_tiles: int) -> Work:
    """Count what a run of the whole slide would do. Raises NothingToMeasureError where that is nothing."""
    if plan.refusal:
        raise NothingToMeasureError(plan.slide.path, f"a run would measure nothing: {plan.refusal}")
    regions = tuple(survey.regions(plan.grid)) if plan.measures_cells or plan.virtual else ()
    tiles = sum(len(tissue_tiles(survey, plan.grid, region)) for region in regions)
    grid = plan.tile_grid
    if grid is None:
        return Work(regions, (), tiles, 0)
    tile_regions = tuple(survey.regions(grid))
    tile_plan = TilePlan(plan.slide, grid, None, batch_tiles, None)
    tasks = (TileTask(tile_plan, region, *survey.at(grid, region.core_an)) for region in tile_regions)
    return Work(regions, tile_regions, tiles, sum(len(chosen_tiles(task)[0]) for task in tasks))


def tissue_tiles(survey: Survey, grid: Grid, region: Region, *, full: bool = False) -> list[Box]:
    """Return the tiles of a region that hold any tissue, analysis px, as runs count them; or only those full of it."""
    allowed = survey.at(grid, region.core_an)[0]
    found = []
    for tile in grid.tiles(region):
        part = allowed[grid.map_window(region, tile)]
        if part.all() if full else part.any():
            found.append(tile)
    return found


def tissue_amount(survey: Survey, grid: Grid, region: Region) -> int:
    """Return how much tissue a region holds, map px."""
    return int(survey.at(grid, region.core_an)[0].sum())


def take_sample(plan: RunPlan, survey: Survey, work: Work, count: int) -> Sample:
    """Return `count` regions, and the same share of the classifier's. Raises NothingToMeasureError without tissue."""
    grid = plan.grid if work.regions else plan.tile_grid
    if grid is None or not work.main_regions:
        raise NothingToMeasureError(plan.slide.path, "no region holds tissue")
    boxes_l0 = sample_boxes(survey, grid, work.main_regions, count)
    if plan.tile_grid is None or not work.regions or plan.virtual:
        return Sample(boxes_l0, [])
    share = len(boxes_l0) / len(work.regions)
    tile_count = max(round(share * len(work.tile_regions)), LEAST_REGIONS)
    return Sample(boxes_l0, sample_boxes(survey, plan.tile_grid, work.tile_regions, tile_count))


def sample_boxes(survey: Survey, grid: Grid, regions: Sequence[Region], count: int) -> list[Box]:
    """Return regions spread evenly over all shares of tissue, level-0 px, fullest last; all there are if few."""
    by_share = sorted(regions, key=lambda region: (tissue_amount(survey, grid, region), region.index))
    return [grid.shown(by_share[place].core_an) for place in spread_evenly(len(by_share), count)]


def spread_evenly(length: int, count: int) -> list[int]:
    """Return `count` places of a list of this `length`, each from the middle of an equal share of it; all if few."""
    count = min(count, length)
    return [int((number + 0.5) * length / count) for number in range(count)]
