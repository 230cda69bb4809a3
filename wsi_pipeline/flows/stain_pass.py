"""One pass of a function over a slide's regions, and the pass that stains virtually."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.flows.maps import finish_image
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.stain_region import (
    TISSUE_PX,
    CalibrationTask,
    StainOutcome,
    StainPlan,
    StainTask,
    calibrate,
    process_stain_region,
)
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.provenance import Stopwatch


class Timed(Protocol):
    """An outcome that says how long its parts took."""

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> s."""
        ...


Outcome = TypeVar("Outcome", bound=Timed)


def run_stain_pass(
    plan: StainPlan, survey: Survey, request: ScoreRequest, watch: Stopwatch, executor: Executor
) -> list[StainOutcome]:
    """Stain every region that holds tissue into the plan's image, and finish its pyramid."""
    grid = plan.grid
    kind = request.settings.models.statistics
    calibration = CalibrationTask(plan, survey.tissue_at(grid, TISSUE_PX), kind)
    run_pass(executor, calibrate, [calibration], ("calibrating", 1), request, watch, device=True)
    regions = survey.regions(grid)
    tasks = (StainTask(plan, region, survey.at(grid, region.core_an)[0]) for region in regions)
    outcomes = run_pass(executor, process_stain_region, tasks, ("staining", len(regions)), request, watch, device=True)
    with watch.stage("pyramid"):
        finish_image(plan.image, grid)
    plan.statistics.unlink(missing_ok=True)
    return outcomes


def run_pass(
    executor: Executor,
    function: Callable[[Any], Outcome],
    tasks: Iterable[Any],
    stage: tuple[str, int],
    request: ScoreRequest,
    watch: Stopwatch,
    *,
    device: bool = False,
) -> list[Outcome]:
    """Run `function` over all tasks; report progress as `stage` (name, how many), add up the seconds of its parts.

    `device`: the function wants a GPU, where the run uses one.
    """
    name, total = stage
    outcomes = []
    request.progress(name, 0, total)
    for outcome in executor.run(function, tasks, device=device):
        outcomes.append(outcome)
        request.progress(name, len(outcomes), total)
        for part, seconds in outcome.seconds.items():
            watch.add(f"region_{part}", seconds)
    return outcomes
