"""An archive in virtual time: batches with two slides at hand, one scheduler, workers that take what comes first."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from itertools import count
from statistics import fmean
from typing import NamedTuple

from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.flows.batch import LANES

REGION_S = (
    0.049, 0.055, 0.141, 0.142, 0.143, 0.144, 0.146, 0.146, 0.148, 0.149, 0.150, 0.151, 0.152, 0.152, 0.153, 0.154,
    0.155, 0.156, 0.156, 0.157, 0.158, 0.158, 0.159, 0.160, 0.161, 0.162, 0.164, 0.164, 0.166, 0.167, 0.168, 0.170,
    0.171, 0.172, 0.175, 0.177, 0.180, 0.183, 0.200, 0.396,
)  # fmt: skip
"""Processor's seconds to measure the cells of a region of 8 x 8 tiles, 0.25 um/px, all of it tissue or nearly so.

Every tenth of 395 sorted values, recorded 2026-11-23 with the serial executor on four slides of 4,096 to 33,280 px
made by large_slide.py; the shortest are regions at a slide's edge.
"""

HE_PASSES_S = (64 * 0.055 * 0.84, 64 * 0.055 * 0.16)
"""Mean seconds to stain and to classify a region of H&E with light networks; 55 ms per tile in docs/performance.md."""

SURVEY_S, FINISH_S = (0.22, 0.002), (0.1, 0.009)
"""Seconds of the batch itself, before and after a slide's regions: constant, and per region.

Recorded 2026-11-24, least of three runs: 0.26 and 0.32 s for 25 regions (and 0.9 s for cells as GeoJSON, which larger
slides do not have), 0.40 and 1.00 s for 100.
"""

REGIONS = (100, 500)
"""Fewest and most regions of a slide of the archive; all numbers between are equally likely."""


class Costs(NamedTuple):
    """Processor's seconds per region of scheduler and client, and the share of a core the idle scheduler needs."""

    scheduler: float
    client: float
    idle: float

    @property
    def most_per_second(self) -> float:
        """Regions a second when scheduler and client take turns, as they do for most of a region's way."""
        return (1 - self.idle) / (self.scheduler + self.client)


class Slide:
    """One slide's way through a batch: passes over its regions with the batch's own work before and after."""

    def __init__(self, rng: random.Random, tiles: int, *, he: bool) -> None:
        area = (tiles / 8) ** 2
        regions = rng.randint(*REGIONS)
        count = max(1, round(regions / area))
        self.survey, self.finish = (fixed + each * regions for fixed, each in (SURVEY_S, FINISH_S))
        scale = [seconds / fmean(REGION_S) for seconds in HE_PASSES_S] if he else []
        self.passes = [[area * part * seconds for seconds in rng.choices(REGION_S, k=count)] for part in (*scale, 1.0)]


Lane = Generator[float | None, float, None]
"""One slide after another: yields when it goes on, or None when the other lane of its batch must let it."""


@dataclass
class Batch:
    """Two slides at hand, of which one has its regions with the workers; the other may wait for that."""

    has_regions_out: bool = False
    waiting: Lane | None = None


@dataclass
class Archive:
    """What all batches share, in virtual time, s: slides to come, workers, scheduler."""

    costs: Costs
    tiles: int
    he: bool
    to_come: int
    free: list[float]
    rng: random.Random = field(default_factory=lambda: random.Random(11))
    scheduler: float = 0.0
    end: float = 0.0
    busy: float = 0.0
    tasks: int = 0

    def hand_out(self, now: float, seconds: float) -> float:
        """Give a region to the first free worker, by way of client and scheduler, and return when it is done."""
        self.scheduler = max(self.scheduler, now + self.costs.client) + self.costs.scheduler / (1 - self.costs.idle)
        landed = max(self.free[0], self.scheduler) + seconds
        heapreplace(self.free, landed)
        self.busy, self.tasks = self.busy + seconds, self.tasks + 1
        return landed


def lane(batch: Batch, shared: Archive, wake: Callable[[float], None]) -> Lane:
    """Survey, regions, tables and maps of one slide after another; regions only while the other lane has none out."""
    limit = EngineOptions().tasks_ahead * len(shared.free)
    now = yield 0.0
    while shared.to_come:
        shared.to_come -= 1
        slide = Slide(shared.rng, shared.tiles, he=shared.he)
        now = yield now + slide.survey
        if batch.has_regions_out:
            now = yield None
        batch.has_regions_out = True
        for left in slide.passes:
            flying: list[float] = []
            for seconds in left:
                if len(flying) >= limit:
                    now = yield max(now, heappop(flying))
                heappush(flying, shared.hand_out(now, seconds))
                now = yield shared.scheduler
            now = yield max(now, *flying)
        batch.has_regions_out = False
        wake(now)
        now = yield now + slide.finish
        shared.end = max(shared.end, now)


def archive(slides: int, workers: int, batches: int, costs: Costs, tiles: int, he: bool) -> tuple[float, float, float]:
    """Simulate an archive; return hours, the busy share of the workers, and that of the scheduler."""
    shared = Archive(costs, tiles, he, slides, [0.0] * workers)
    going: list[tuple[float, int, Batch, Lane]] = []
    numbers = count()
    for _ in range(min(batches, slides)):
        batch = Batch()

        def wake(now: float, batch: Batch = batch) -> None:
            if batch.waiting is not None:
                heappush(going, (now, next(numbers), batch, batch.waiting))
                batch.waiting = None

        for _ in range(LANES):
            started = lane(batch, shared, wake)
            heappush(going, (next(started) or 0.0, next(numbers), batch, started))
    while going:
        now, _, batch, moved = heappop(going)
        try:
            later = moved.send(now)
        except StopIteration:
            continue
        if later is None:
            batch.waiting = moved
        else:
            heappush(going, (later, next(numbers), batch, moved))
    load = costs.idle + shared.tasks * costs.scheduler / shared.end
    return shared.end / 3600, shared.busy / (shared.end * workers), load
