"""Score one slide: the product, read top to bottom."""

from __future__ import annotations

from pathlib import Path

from wsi_pipeline.export.atomic import RunFolder, require_space
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.gather import Gathered, gather, gather_model_tiles
from wsi_pipeline.flows.maps import create_maps, estimate_bytes, finish_maps
from wsi_pipeline.flows.outputs import write_outputs
from wsi_pipeline.flows.passes import run_passes
from wsi_pipeline.flows.plan import plan_run
from wsi_pipeline.flows.record import score_all
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.flows.tile_maps import write_tile_maps
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.results import Result
from wsi_pipeline.slide import open_slide
from wsi_pipeline.tiling import make_grid


def score_slide(request: ScoreRequest) -> tuple[Result, Path]:
    """Score the slide and return the record and the folder it was written to.

    Raises any WsiHer2Error; then, as after Ctrl-C, nothing is left behind.
    """
    watch = Stopwatch()
    with (
        open_slide(request.slide, mpp=request.mpp, assume_mpp=request.assume_mpp, reader=request.reader) as slide,
        RunFolder.create(request.out) as folder,
    ):
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        with watch.stage("survey"):
            survey = survey_slide(slide, grid, request)
        plan = plan_run(request, slide.info, survey, grid, folder.work)
        require_space(folder.work, estimate_bytes(plan.grid, virtual=plan.virtual))
        plan.parts.mkdir()
        maps = create_maps(folder.work, plan.grid, cells=plan.measures_cells, virtual=plan.virtual)
        passed = run_passes(plan, survey, request, watch)
        with watch.stage("aggregate"):
            cells, tiles = gather(passed.cells, plan.parts, survey.pieces)
            model_tiles = gather_model_tiles(passed.tiles, plan.tile_grid, cells, survey.pieces)
            gathered = Gathered(cells, tiles, model_tiles)
            verdicts = score_all(plan, gathered, survey, request.settings.rule)
        with watch.stage("maps"):
            finish_maps(maps, plan.grid, gathered)
            scales = write_tile_maps(maps, plan, model_tiles, verdicts)
        context = RunContext(request, slide.info, survey, plan, passed, gathered, verdicts, scales, watch)
        result = write_outputs(folder, context)
    return result, folder.final
