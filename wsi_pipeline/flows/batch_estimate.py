"""What a batch would take, from the slides' headers and, where there are any, from the runs that are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from wsi_pipeline.engine.interface import EngineOptions, usable_processors
from wsi_pipeline.engine.trial import Trial
from wsi_pipeline.flows.batch_keys import BatchKeys
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_request import BatchRequest, done_row, request_for
from wsi_pipeline.flows.batch_rows import SlideRow, failed_row
from wsi_pipeline.flows.batch_store import BatchStore
from wsi_pipeline.flows.remote_slide import slide_files
from wsi_pipeline.flows.score import open_request
from wsi_pipeline.storage import RemotePath

TISSUE_SHARE = 0.25
"""Share of a slide's area that is tissue, where no run of the batch says better."""

SECONDS_PER_MM2 = 5.5
"""Time to measure the cells of 1 mm2 of tissue on one core, s: phantom at 0.25 um/px, 2026-11-23, a shared EPYC core.
Networks come on top."""

SECONDS_PER_SLIDE = 3.0
"""Time that a slide takes however small it is, s: survey, tables, pictures; measured as above."""

BYTES_PER_MM2 = 12_000_000
"""Results of 1 mm2 of tissue full of cells, bytes: maps, tables and objects of the same phantom."""


@dataclass(frozen=True)
class Estimate:
    """What is ahead for one slide. `problem`: why it cannot be scored, as its header says already.

    Of a slide at a URL only the bytes to be fetched are known.
    """

    name: str
    done: bool = False
    problem: str = ""
    slide_mm2: float = 0.0
    minutes: float = 0.0
    disk_bytes: int = 0
    fetch_bytes: int | None = None


@dataclass(frozen=True)
class Rates:
    """`seconds` and `disk_bytes` per mm2 of slide, glass included; `seconds_each` per slide; `why`: from where."""

    seconds: float
    seconds_each: float
    disk_bytes: float
    why: str


def estimate_batch(request: BatchRequest) -> tuple[Rates, Iterator[Estimate]]:
    """Return the rates, and lazily what each slide would take; opens headers only, and writes nothing."""
    store, keys = BatchStore(request.out, request.target, request.copies), BatchKeys(request.template)
    found = {slide.id: done_row(request, slide, store, keys) for slide in request.slides}
    done = {name: row for name, row in found.items() if row is not None}
    rates = _rates(list(done.values()), request.template.settings.engine)
    return rates, _estimates(request, rates, frozenset(done))


def _estimates(request: BatchRequest, rates: Rates, done: frozenset[str]) -> Iterator[Estimate]:
    """Yield what each slide would take; `done`: the slides that are."""
    with closing(Trial()) as trial:
        for slide in request.slides:
            yield _estimate(request, slide, rates, trial) if slide.id not in done else Estimate(slide.name, done=True)


def _rates(done: Sequence[SlideRow], engine: EngineOptions) -> Rates:
    """Return the rates of the runs that are done, or those of one core times the workers."""
    measured = [row for row in done if row.seconds and row.slide_mm2 and row.tissue_mm2]
    area = sum(row.slide_mm2 or 0 for row in measured)
    share = sum(row.tissue_mm2 or 0 for row in measured) / area if area else TISSUE_SHARE
    if area:
        seconds = max(sum(row.seconds or 0 for row in measured) - SECONDS_PER_SLIDE * len(measured), 0.0) / area
        why = f"as in the {len(measured)} runs that are done"
    else:
        workers = 1 if engine.executor == "serial" else engine.workers or usable_processors()
        seconds = SECONDS_PER_MM2 * share / workers
        why = f"{100 * share:.0f} % of each slide tissue, {workers} workers, cells only; networks and H&E take longer"
    return Rates(seconds, SECONDS_PER_SLIDE, BYTES_PER_MM2 * share, why)


def _estimate(request: BatchRequest, slide: BatchSlide, rates: Rates, trial: Trial) -> Estimate:
    """Return what one slide would take."""
    try:
        if isinstance(slide.source.path, RemotePath):
            files = slide_files(slide.source.path)[1]
            return Estimate(slide.name, fetch_bytes=sum(file.size or 0 for file in files.values()))
        with open_request(request_for(request, slide, request.out), trial) as opened:
            info = opened.info
    except Exception as error:  # noqa: BLE001 - one slide must not hide the others, whatever a library raises
        row = failed_row(slide, error, 0.0)
        return Estimate(slide.name, problem=f"{row.status}: {row.message}")
    area = info.size_l0.width * info.mpp.x * info.size_l0.height * info.mpp.y / 1e6
    minutes = (rates.seconds_each + rates.seconds * area) / 60
    return Estimate(
        slide.name, slide_mm2=area, minutes=minutes, disk_bytes=round(rates.disk_bytes * area) + 500_000
    )  # fmt: skip
