"""The pass that stains a slide virtually: its statistics, its regions, the pyramid."""

from __future__ import annotations

from typing import Literal

from wsi_pipeline.errors import ClusterError
from wsi_pipeline.flows.driver import Driver
from wsi_pipeline.flows.maps import finish_image
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


def run_stain_pass(
    plan: StainPlan, survey: Survey, statistics: Literal["slide", "grid"], driver: Driver
) -> list[StainOutcome]:
    """Stain every region that holds tissue into the plan's image, and finish its pyramid.

    Raises ClusterError when the slide's statistics kill every worker that measures them.
    """
    grid = plan.grid
    calibration = CalibrationTask(plan, survey.tissue_at(grid, TISSUE_PX), statistics)
    if not driver.run(calibrate, [calibration], ("calibrating", 1), device=True):
        raise ClusterError(plan.slide.path, "its statistics killed two workers", "give the workers more memory")
    regions = survey.regions(grid)
    tasks = (StainTask(plan, region, survey.at(grid, region.core_an)[0]) for region in regions)
    outcomes = driver.run(process_stain_region, tasks, ("staining", len(regions)), device=True)
    with driver.watch.stage("pyramid"):
        finish_image(plan.image, grid)
    return outcomes
