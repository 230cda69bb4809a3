"""Score one slide: the product, read top to bottom."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from wsi_pipeline.config import load_assay
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.export.atomic import RunFolder, require_space
from wsi_pipeline.flows.context import RunContext
from wsi_pipeline.flows.gather import gather
from wsi_pipeline.flows.maps import create_maps, estimate_bytes, finish_maps
from wsi_pipeline.flows.outputs import write_outputs
from wsi_pipeline.flows.record import score_all
from wsi_pipeline.flows.region import RegionOutcome, RegionPlan, RegionTask, process_region
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.results import Result
from wsi_pipeline.slide import SlideSpec, open_slide
from wsi_pipeline.tiling import make_grid

PARTS = ".parts"
"""Folder of the regions' parts inside the unfinished run folder; gone when the run is finished."""


def score_slide(request: ScoreRequest) -> tuple[Result, Path]:
    """Score the slide and return the record and the folder it was written to.

    Raises any WsiHer2Error; then, as after Ctrl-C, nothing is left behind.
    """
    watch = Stopwatch()
    assay = load_assay(request.settings.assay)
    with (
        open_slide(request.slide, mpp=request.mpp, assume_mpp=request.assume_mpp, reader=request.reader) as slide,
        RunFolder.create(request.out) as folder,
    ):
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        require_space(folder.work, estimate_bytes(grid))
        with watch.stage("survey"):
            survey = survey_slide(slide, grid, request)
        (folder.work / PARTS).mkdir()
        maps = create_maps(folder.work, grid, survey)
        spec = SlideSpec(request.slide.resolve(), slide.info.reader, require_mpp=False)
        plan = RegionPlan(spec, grid, survey.white.rgb, assay, request.settings.cells, maps, folder.work / PARTS)
        outcomes, spread = _measure(plan, survey, request, watch)
        with watch.stage("aggregate"):
            gathered = gather(outcomes, plan.parts, survey.pieces)
            verdicts = score_all(gathered, survey, request.settings.rule)
        with watch.stage("maps"):
            finish_maps(maps, grid, gathered)
        context = RunContext(request, slide.info, grid, survey, assay, gathered, verdicts, spread, watch)
        result = write_outputs(folder, context)
    return result, folder.final


def _measure(
    plan: RegionPlan, survey: Survey, request: ScoreRequest, watch: Stopwatch
) -> tuple[list[RegionOutcome], dict[str, object]]:
    """Measure all regions that hold tissue; return their outcomes and how the work was spread.

    Raises CorruptSlideError when too much of the tissue cannot be read, ClusterError.
    """
    regions = survey.regions_to_measure(plan.grid)
    if not regions:
        return [], {"executor": "none", "workers": 0}
    # made one by one as workers take them: the masks of all regions together would not fit in memory
    tasks = (RegionTask(plan, region, *survey.at_map(plan.grid, region)) for region in regions)
    outcomes: list[RegionOutcome] = []
    with watch.stage("regions"), closing(make_executor(request.settings.engine, request.scheduler)) as executor:
        spread = executor.describe()
        request.progress("measuring", 0, len(regions))
        for outcome in executor.run(process_region, tasks):
            outcomes.append(outcome)
            request.progress("measuring", len(outcomes), len(regions))
    for outcome in outcomes:
        for stage, seconds in outcome.seconds.items():
            watch.add(f"region_{stage}", seconds)
    lost = sum(outcome.unreadable_px for outcome in outcomes)
    percent = 100.0 * lost / max(sum(outcome.scored_px for outcome in outcomes), 1)
    if percent > request.settings.engine.max_unreadable_percent:
        raise CorruptSlideError(request.slide, f"{percent:.0f} % of its tissue cannot be read", "copy or scan it again")
    return outcomes, spread | {"regions": len(regions), "unreadable_percent": round(percent, 3)}
