"""What this machine can do on a slide: rate and ceiling of each stage, what limits it, and the time of a whole run.

Nothing is imitated: the product scores a few of the slide's regions, again and again, and says what took how long.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.engine.interrupts import interrupts_held
from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import RunFolder
from wsi_pipeline.flows.bench_ceilings import Measured, find_ceilings
from wsi_pipeline.flows.bench_programs import run_program
from wsi_pipeline.flows.bench_record import BenchRecord, EngineRecord, OnceSeconds, SlideFacts, WorkRecord
from wsi_pipeline.flows.bench_rounds import Bench, Rounds
from wsi_pipeline.flows.bench_stages import (
    STAIN_TILE_PX,
    Ceiling,
    TileSize,
    find_bottleneck,
    finish_seconds,
    seconds_by_stage,
    stage_records,
    survey_record,
    whole_slide_seconds,
)
from wsi_pipeline.flows.bench_work import Work, count_work, take_sample
from wsi_pipeline.flows.plan import RunPlan, plan_run
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import open_request
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.provenance import machine, versions
from wsi_pipeline.slide import Slide, sha256_of
from wsi_pipeline.tiling import Grid, make_grid

SCRATCH = "wsi-her2-bench"
"""What the hidden folder is called in which a benchmark works."""


class BenchOptions(BaseModel):
    """How much is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regions: int = Field(8, ge=2, le=1000, description="regions of the slide that each round scores")
    seconds: float = Field(20.0, ge=0, description="rounds go on for this long, s, and there are at least two")


@dataclass(frozen=True)
class _Known:
    """What is known of the slide before anything is measured, and what finding it took, s."""

    survey: Survey
    plan: RunPlan
    work: Work
    hash_s: float
    survey_s: float
    plan_s: float


@dataclass(frozen=True)
class _Found:
    """What was measured."""

    engine: EngineRecord
    sampled: int
    rounds: Rounds
    ceilings: dict[str, Ceiling]
    start_s: float
    stop_s: float

    @property
    def threads(self) -> tuple[int, int]:
        """Threads around GPUs, and of ordinary workers."""
        return self.engine.gpu_threads, self.engine.threads


def bench_slide(request: ScoreRequest, options: BenchOptions, folder: Path) -> BenchRecord:
    """Measure the slide of `request`, writing into `folder` for the time being; its `out` is not used.

    Raises what a run of the slide raises, and NothingToMeasureError for a slide that a run would not evaluate.
    """
    with open_request(request) as slide, scratch_folder(folder) as scratch:
        known = _look(slide, request, scratch)
        found = _measure(slide, request, options, known, scratch)
        return _record(slide, request, known, found)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder inside `folder` that is gone afterwards, whatever still writes. Raises OutputError."""
    scratch: RunFolder | None = None
    try:
        with interrupts_held():  # or Ctrl-C could come when the folder is there and nobody knows yet
            scratch = RunFolder.create(folder / SCRATCH)
        yield scratch.work
    except OutputError as error:
        if scratch is not None:
            raise
        raise OutputError(folder, error.problem, "name a folder on the disk that results go to: --folder") from error
    finally:
        if scratch is not None:
            scratch.discard()


def _look(slide: Slide, request: ScoreRequest, scratch: Path) -> _Known:
    """Do what a run does before its regions, and count what it would do. Raises NothingToMeasureError."""
    times = [time.perf_counter()]
    sha256_of(slide.info.path)
    times.append(time.perf_counter())
    grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
    survey = survey_slide(slide, grid, request)
    times.append(time.perf_counter())
    plan = plan_run(request, slide.info, survey, grid, scratch)
    times.append(time.perf_counter())
    work = count_work(plan, survey, request.settings.models.batch_tiles)
    return _Known(survey, plan, work, *(after - before for before, after in pairwise(times)))


def _measure(slide: Slide, request: ScoreRequest, options: BenchOptions, known: _Known, scratch: Path) -> _Found:
    """Score the sample over and over, and find the ceilings."""
    sample = take_sample(known.plan, known.survey, known.work, options.regions)
    stain = "auto" if known.survey.stain == "unknown" else known.survey.stain
    bench = Bench(replace(request, stain=stain), slide, scratch)
    try:
        rounds = bench.rounds(sample, options.seconds)
        spread = bench.spread
    finally:
        stop_s = bench.close()
    workers = int(spread["workers"])
    engine = EngineRecord(
        executor=str(spread["executor"]), workers=workers, threads=int(spread.get("threads", workers)),
        gpu_threads=int(spread.get("gpu_threads") or 0),
    )  # fmt: skip
    tiles = known.work.main_tiles
    measured = Measured(slide, known.plan, known.survey, tiles, sample, rounds.warm, engine.gpu_threads)
    return _Found(engine, len(sample.boxes_l0), rounds, find_ceilings(measured, scratch), bench.started_s, stop_s)


def _record(slide: Slide, request: ScoreRequest, known: _Known, found: _Found) -> BenchRecord:
    """Put together what was found, and predict a run of the whole slide."""
    plan, work = known.plan, known.work
    sizes = _tile_sizes(plan)
    size = sizes["measure" if work.regions else "classify"]
    stages = (
        survey_record(work.main_tiles, known.survey_s, found.ceilings["survey"], size),
        *stage_records(found.rounds.warm, found.ceilings, sizes),
    )
    passes = whole_slide_seconds(found.rounds.warm, work.loads(plan), found.threads)
    once = _once(known, found)
    total = once.total() + sum(passes.values())
    return BenchRecord(
        slide=_slide_facts(slide),
        stain=known.survey.stain,
        evidence=plan.evidence,
        missing_networks=plan.networks.missing,
        networks={kind: chosen.record() | {"kind": kind} for kind, chosen in plan.networks.chosen().items()},
        machine=machine(),
        versions=versions(),
        engine=found.engine,
        settings=request.settings.model_dump(mode="json"),
        work=_work_record(known),
        sampled_regions=found.sampled,
        rounds=len(found.rounds.warm),
        stages=stages,
        once_seconds=once,
        passes_seconds=passes,
        bottleneck=find_bottleneck(seconds_by_stage(stages, once, passes), on_gpus=found.engine.gpu_threads > 0),
        predicted_seconds=total,
        predicted_minutes=total / 60,
        predicted_tiles_per_s=work.main_tiles / total,
    )


def _once(known: _Known, found: _Found) -> OnceSeconds:
    """Return what a run pays once, as far as rounds and first calls tell."""
    cold, warm = found.rounds.cold, found.rounds.warm
    elsewhere = ("convert", "workers")  # what was converted is kept for all runs; workers are counted apart
    first_s = cold.wall_s - median(round_.wall_s for round_ in warm)
    first_s -= sum(cold.seconds.get(stage, 0.0) for stage in elsewhere)
    finish_s = finish_seconds(
        (median(round_.finish_s for round_ in warm), found.sampled),
        median(round_.finish_s for round_ in found.rounds.single),
        len(known.work.main_regions),
    )
    return OnceSeconds(
        start=_import_seconds(), hash=known.hash_s, survey=known.survey_s, choose_networks=known.plan_s,
        start_workers=found.start_s, first_regions=max(first_s, 0.0), finish=finish_s, stop_workers=found.stop_s,
    )  # fmt: skip


def _import_seconds() -> float:
    """Return how long Python takes to start and to import the product, s."""
    program = "import wsi_pipeline.cli.main, wsi_pipeline.flows.anywhere"
    return run_program([sys.executable, "-c", program], os.environ).seconds


def _tile_sizes(plan: RunPlan) -> dict[str, TileSize]:
    """Return pass -> its tiles."""
    found = {
        "stain": _tile_size(plan.grid, STAIN_TILE_PX),
        "measure": _tile_size(plan.grid, plan.grid.options.tile_px),
    }
    if plan.tile_grid is not None:
        found["classify"] = _tile_size(plan.tile_grid, plan.tile_grid.options.tile_px)
    return found


def _tile_size(grid: Grid, side_px: int) -> TileSize:
    """Return the size of tiles of `side_px` in px of `grid`."""
    return TileSize(side_px, (side_px * grid.mpp.x, side_px * grid.mpp.y))


def _work_record(known: _Known) -> WorkRecord:
    """Return what a run has to do, in numbers."""
    work = known.work
    return WorkRecord(
        regions=len(work.regions),
        classifier_regions=len(work.tile_regions),
        tissue_tiles=work.tiles,
        classified_tiles=work.model_tiles if known.plan.networks.classifier is not None else 0,
        tissue_mm2=round(known.survey.tissue_mm2, 4),
    )


def _slide_facts(slide: Slide) -> SlideFacts:
    """Return which slide it was."""
    info = slide.info
    return SlideFacts(
        path=str(info.path), width=info.size_l0.width, height=info.size_l0.height, mpp_x=info.mpp.x, mpp_y=info.mpp.y,
        vendor=info.vendor, reader=info.reader,
    )  # fmt: skip
