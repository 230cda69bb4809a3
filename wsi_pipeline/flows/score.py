"""Score one slide: the product, read top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_pipeline.engine.trial import Trial
from wsi_pipeline.export.atomic import LAST_PUBLISHED, RunFolder, require_space
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.gather import Gathered, gather, gather_model_tiles, gather_stained
from wsi_pipeline.flows.maps import FOLDER, create_maps, estimate_bytes, finish_maps
from wsi_pipeline.flows.memory import Need, require_memory
from wsi_pipeline.flows.memory_estimate import first_need
from wsi_pipeline.flows.nuclear_dab import stained_in_places
from wsi_pipeline.flows.outputs import write_outputs
from wsi_pipeline.flows.passes import run_passes
from wsi_pipeline.flows.plan import RunPlan, plan_run
from wsi_pipeline.flows.pool import OnePool, Pool
from wsi_pipeline.flows.record import score_all
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.resume import work_key
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.flows.tile_maps import write_tile_maps
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.results import Result
from wsi_pipeline.slide import Slide, SlideSpec, sha256_of
from wsi_pipeline.tiling import make_grid


def score_slide(request: ScoreRequest) -> tuple[Result, Path]:
    """Score the slide and return the record and the folder it was written to.

    Raises any WsiHer2Error; then, as after Ctrl-C, nothing is left behind.
    """
    with open_request(request) as slide, RunFolder.create(request.out) as folder:
        result = score_into(folder, slide, request, OnePool(request.settings, request.scheduler))
    return result, folder.final


def open_request(request: ScoreRequest, trial: Trial | None = None) -> Slide:
    """Open the slide as the request says, after a `trial` where there is one. Raises what opening raises."""
    seconds = request.settings.engine.open_seconds
    spec = SlideSpec(request.slide, request.reader, request.mpp, request.assume_mpp, open_seconds=seconds)
    if trial is not None:
        trial.open(spec)
    return spec.open()


def need_at_first(slide: Slide, request: ScoreRequest) -> Need:
    """Return the memory that a slide needs at the least, before anybody has looked at it."""
    return first_need(make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling), request)


def score_into(folder: RunFolder, slide: Slide, request: ScoreRequest, pool: Pool) -> Result:
    """Score an open slide into an unfinished run folder, with an executor of `pool`, and return the record.

    Goes on where an earlier attempt ended, if `folder` is one that keeps what was done. Raises any WsiHer2Error.
    """
    watch = Stopwatch()
    require_memory(need_at_first(slide, request), request.settings, request.scheduler, 0)
    grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
    with watch.stage("hash"):
        sha256 = sha256_of(slide.info.path)
    with watch.stage("survey"):
        survey = survey_slide(slide, grid, request)
    plan = plan_run(request, slide.info, survey, grid, folder.work)
    if not _prepare(folder, plan, work_key(request, plan, sha256)):
        return Result.model_validate_json((folder.work / LAST_PUBLISHED).read_text(encoding="utf-8"))
    passed = run_passes(plan, survey, request, watch, pool)
    with watch.stage("aggregate"):
        cells, tiles = gather(passed.cells, plan.parts, survey.pieces)
        model_tiles = gather_model_tiles(passed.tiles, plan.tile_grid, cells, survey.pieces)
        stained = gather_stained(passed.cells)
        if plan.evidence == "tiles" and not plan.virtual:
            stained = stained_in_places(slide, grid, survey, plan.assay.vectors, request.settings.nuclear_stain)
        gathered = Gathered(cells, tiles, model_tiles, stained)
        verdicts = score_all(plan, gathered, survey, request.settings, passed.disbelief)
    with watch.stage("maps"):
        finish_maps(folder.work / FOLDER, plan.grid, gathered, passed.unfinished)
        scales = write_tile_maps(folder.work / FOLDER, plan, model_tiles, verdicts)
    context = RunContext(request, slide.info, sha256, survey, plan, passed, gathered, verdicts, scales, watch)
    return write_outputs(folder, context)


def _prepare(folder: RunFolder, plan: RunPlan, key: Mapping[str, Any]) -> bool:
    """Make the empty maps, or find those of an earlier attempt; tell whether anything is left to be done.

    Raises ResourceError when the disk is too full.
    """
    if folder.take_up(key):
        return not (folder.work / LAST_PUBLISHED).exists()
    require_space(folder.work, estimate_bytes(plan.grid, virtual=plan.virtual))
    plan.parts.mkdir()
    create_maps(folder.work, plan.grid, cells=plan.measures_cells, virtual=plan.virtual)
    folder.keep(key)
    return True
