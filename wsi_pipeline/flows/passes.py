"""The passes over a slide's regions, one after another on one executor: stain, look at model tiles, measure cells."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import ClusterError, CorruptSlideError
from wsi_pipeline.flows.belief import why_no_evidence
from wsi_pipeline.flows.driver import Driver
from wsi_pipeline.flows.maps import FOLDER, VIRTUAL_IMAGE
from wsi_pipeline.flows.memory_estimate import whole_need
from wsi_pipeline.flows.networks import Network, convert_ahead
from wsi_pipeline.flows.plan import STATISTICS, RunPlan
from wsi_pipeline.flows.pool import Pool
from wsi_pipeline.flows.pyramids import Block, blocks_of
from wsi_pipeline.flows.region import RegionOutcome, RegionPlan, RegionTask, process_region
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.resume import JournaledExecutor
from wsi_pipeline.flows.stain_pass import run_stain_pass
from wsi_pipeline.flows.stain_region import StainOutcome, StainPlan
from wsi_pipeline.flows.survey import Survey, tissue_patches
from wsi_pipeline.flows.tile_region import TileOutcome, TilePlan, TileTask, process_tile_region
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.slide import SlideSpec
from wsi_pipeline.stain.detect import why_not_dab
from wsi_pipeline.stain.white import WhitePoint, correct_white
from wsi_pipeline.tiling import Grid, Region

PAINTED_GLASS = WhitePoint(255.0, 255.0, 255.0, "glass", 0.0)
"""What a virtual stain shows where there is no tissue: painted, so that its own brightest pixels are the white."""


@dataclass
class Passed:
    """What the passes bring home.

    `white`: I0 of what was measured; `disbelief`: why a virtual stain is no evidence, or empty; `spread`: how the work
    was spread; `unfinished`: blocks of the maps that lost a region, so that nobody wrote their coarser levels.
    """

    white: WhitePoint
    stain: list[StainOutcome] = field(default_factory=list)
    tiles: list[TileOutcome] = field(default_factory=list)
    cells: list[RegionOutcome] = field(default_factory=list)
    unfinished: list[Block] = field(default_factory=list)
    disbelief: str = ""
    spread: dict[str, Any] = field(default_factory=lambda: {"executor": "none", "workers": 0})


def run_passes(plan: RunPlan, survey: Survey, request: ScoreRequest, watch: Stopwatch, pool: Pool) -> Passed:
    """Stain, classify and measure whatever the plan says, on an executor that `pool` lends.

    Raises CorruptSlideError when too much of the tissue cannot be read, ClusterError, WeightsError, ResourceError when
    the memory does not hold one worker.
    """
    passed = Passed(survey.white)
    if plan.refusal:
        return passed
    if request.scheduler is None:
        with watch.stage("convert"):
            convert_ahead(plan.networks, request)
    with ExitStack() as borrowed:
        with watch.stage("workers"):
            lent = borrowed.enter_context(pool.lend(plan.networks.gpus, whole_need(plan, survey, request)))
        borrowed.enter_context(watch.stage("regions"))
        passed.spread = dict(lent.describe())
        executor = JournaledExecutor(lent, plan.parts) if pool.resumes else lent
        driver = Driver(executor, request.progress, watch)
        work = _Work(plan, survey, request, driver)
        source, step = plan.slide, round(plan.grid.ratio[0])
        if plan.networks.stainer is not None:
            passed.stain = work.stain(plan.networks.stainer.network)
            source, step = SlideSpec(plan.work / FOLDER / VIRTUAL_IMAGE, "zarr"), 1
            passed.white, doubt = _virtual_colours(source, survey, plan.grid)
            passed.disbelief = why_no_evidence(plan.networks.stainer.manifest, doubt)
        if plan.tile_grid is not None:
            passed.tiles = work.tiles(source, plan.tile_grid)
        if plan.measures_cells:
            passed.cells = work.cells(source, step, passed)
    passed.spread |= work.losses(passed)
    if isinstance(executor, JournaledExecutor):
        passed.spread["regions_taken_up"] = executor.taken_up
    return passed


@dataclass
class _Work:
    """The passes of one run."""

    plan: RunPlan
    survey: Survey
    request: ScoreRequest
    driver: Driver

    def stain(self, stainer: Network) -> list[StainOutcome]:
        """Write the virtual stain."""
        image, statistics = self.plan.work / FOLDER / VIRTUAL_IMAGE, self.plan.parts / STATISTICS
        stain = StainPlan(self.plan.slide, self.plan.grid, stainer, image, statistics)
        return run_stain_pass(stain, self.survey, self.request.settings.models.statistics, self.driver)

    def tiles(self, source: SlideSpec, grid: Grid) -> list[TileOutcome]:
        """Classify the model tiles, and judge those of a virtual stain."""
        classifier, settings = self.plan.networks.classifier, self.request.settings
        tiles = TilePlan(
            source,
            grid,
            classifier.network if classifier else None,
            settings.models.batch_tiles,
            settings.quality if self.plan.virtual else None,
        )
        regions = self.survey.regions(grid)
        tasks = (TileTask(tiles, region, *self.survey.at(grid, region.core_an)) for region in regions)
        stage = ("classifying" if classifier else "judging", len(regions))
        return self.driver.run(process_tile_region, tasks, stage, device=classifier is not None)

    def cells(self, source: SlideSpec, step: int, passed: Passed) -> list[RegionOutcome]:
        """Measure the cells; those of a virtual stain inside the tiles whose stain was accepted."""
        plan, survey = self.plan, self.survey
        accepted = _accepted(passed.tiles)
        maps = plan.work / FOLDER
        settings = self.request.settings
        cells = RegionPlan(
            slide=source,
            step=step,
            grid=plan.grid,
            white=passed.white.rgb,
            assay=plan.assay,
            cells=settings.cells,
            nuclear=settings.nuclear_stain,
            maps=maps,
            parts=plan.parts,
            lateral=settings.rule.counts_lateral,
            network=plan.networks.cells.weights,
        )
        regions = survey.regions(plan.grid)
        blocks = blocks_of(plan.grid, regions)

        def task(region: Region) -> RegionTask:
            allowed, piece = survey.at(plan.grid, region.core_an)
            if plan.virtual and plan.tile_grid is not None:
                allowed &= np.isin(_tile_of(plan.grid, plan.tile_grid, region), accepted)
            return RegionTask(cells, region, blocks[region.index], allowed, piece)

        tasks = (task(region) for region in regions)
        outcomes = self.driver.run(process_region, tasks, ("measuring", len(regions)))
        ended = {blocks[outcome.index] for outcome in outcomes if outcome.ended_block}
        passed.unfinished = sorted(set(blocks.values()) - ended)
        return outcomes

    def losses(self, passed: Passed) -> dict[str, Any]:
        """Return how many regions the score rests on, what could not be read, and which regions were left out.

        Tiles count where no cells were measured, since both are read from the same pixels. A region that killed its
        workers counts as one that cannot be read. Raises CorruptSlideError, ClusterError when that is too much.
        """
        slide, most = self.request.slide, self.request.settings.engine.max_unreadable_percent
        measured = passed.cells if self.plan.measures_cells else passed.tiles
        outcomes, skipped = [*passed.stain, *measured], self.driver.skipped
        killed = sum(int(task.allowed.sum()) * task.plan.grid.options.map_px**2 for task in skipped)
        lost = killed + sum(outcome.unreadable_px for outcome in outcomes)
        all_px = max(killed + sum(outcome.scored_px for outcome in outcomes), 1)
        percent = 100.0 * lost / all_px
        if percent > most and 100.0 * killed / all_px > most:
            problem = f"{100.0 * killed / all_px:.0f} % of its tissue killed the workers that took it, twice"
            raise ClusterError(slide, problem, "give each worker more memory: --set engine.workers=1")
        if percent > most:
            raise CorruptSlideError(slide, f"{percent:.0f} % of its tissue cannot be read", "copy or scan it again")
        found: dict[str, Any] = {"regions": len(measured), "unreadable_percent": round(percent, 3)}
        if skipped:
            found["regions_skipped"] = sorted((type(task).__name__, task.region.index) for task in skipped)
        return found


def _virtual_colours(source: SlideSpec, survey: Survey, grid: Grid) -> tuple[WhitePoint, str]:
    """Return the white of a virtual stain, and why its colours cannot be those of hematoxylin with DAB, or nothing.

    The white is the brightest that the generator makes inside tissue.
    """
    with source.open() as stained:
        patches = tissue_patches(stained, grid, survey.within, survey.downsample)
    white = correct_white(PAINTED_GLASS, patches)
    if min(white.rgb) < 1:  # a channel that is black everywhere has no density
        white = PAINTED_GLASS
    return white, why_not_dab(patches, white.rgb)


def _accepted(tiles: list[TileOutcome]) -> NDArray[np.int64]:
    """Return the numbers of the tiles that were judged and fail no quality check."""
    found = [part.tiles["tile"][~part.tiles["failed"].any(axis=1)] for part in tiles if "failed" in part.tiles]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _tile_of(grid: Grid, tile_grid: Grid, region: Region) -> NDArray[np.int64]:
    """Return the model tile at each map px of a region, (h, w)."""
    core, map_px = region.core_an, grid.options.map_px
    x_l0 = (core.x + (np.arange(-(-core.width // map_px)) + 0.5) * map_px) * grid.ratio[0]
    y_l0 = (core.y + (np.arange(-(-core.height // map_px)) + 0.5) * map_px) * grid.ratio[1]
    columns, rows = np.meshgrid(x_l0, y_l0)
    return tile_grid.tiles_at(columns, rows)
