"""Rounds of a benchmark: the product scores a few of a slide's regions, as often as asked, on workers that stay."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.interface import Executor, Outcome, Task
from wsi_pipeline.export.atomic import RunFolder
from wsi_pipeline.flows.bench_work import Sample
from wsi_pipeline.flows.maps import FOLDER
from wsi_pipeline.flows.pool import OnePool
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_into
from wsi_pipeline.flows.tile_region import process_tile_region
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import Slide

TILE_PASS = process_tile_region.__name__
"""By which the tasks of the classifier are known."""

LEAST_ROUNDS = 2
"""Rounds after the first one, whatever time they take; and rounds over a single region."""


class Done(NamedTuple):
    """A task that was done: how long it took where it ran, s, and what came back."""

    seconds: float
    outcome: Any


def run_timed(function: Callable[[Task], Outcome], task: Task) -> Done:
    """Run the task where the worker is, and say how long it took there."""
    start = time.perf_counter()
    outcome = function(task)
    return Done(time.perf_counter() - start, outcome)


class TimedExecutor:
    """Notes how long each task of another executor takes. `done`: name of the function -> its tasks."""

    def __init__(self, executor: Executor) -> None:
        """Run on `executor`."""
        self._executor = executor
        self.done: dict[str, list[Done]] = defaultdict(list)

    @property
    def given_up(self) -> Sequence[Any]:
        """Tasks of the last run that killed two workers."""
        return self._executor.given_up

    def run(
        self, function: Callable[[Task], Outcome], tasks: Iterable[Task], *, device: bool = False
    ) -> Iterator[Outcome]:
        """Yield the outcomes; see Executor.run."""
        for done in self._executor.run(partial(run_timed, function), tasks, device=device):
            self.done[function.__name__].append(done)
            yield done.outcome

    def describe(self) -> dict[str, Any]:
        """Return what the executor says of itself."""
        return self._executor.describe()

    def stop(self) -> None:
        """Stop the executor."""
        self._executor.stop()

    def close(self) -> None:
        """Leave the executor open: the pool closes it."""


@dataclass(frozen=True)
class Round:
    """What scoring a few regions took.

    `wall_s`: all of it; `seconds`: stage -> s as runs record them; `done`: function -> its tasks; `chunks`: map ->
    sizes of its chunks at full resolution, which regions write, bytes.
    """

    wall_s: float
    seconds: Mapping[str, float]
    done: Mapping[str, Sequence[Done]]
    chunks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def finish_s(self) -> float:
        """Time from the last region to the published folder, and everything else that is done once per run, s."""
        known = ("hash", "survey", "convert", "workers", "regions")
        return self.wall_s - sum(self.seconds.get(name, 0.0) for name in known)


@dataclass(frozen=True)
class Rounds:
    """The first round, in which workers load everything; the rounds after it; and those over a single region."""

    cold: Round
    warm: Sequence[Round]
    single: Sequence[Round]


@dataclass
class Bench:
    """Workers that stay between rounds, and where the rounds may write. A pool, as runs ask for.

    They are those that one run would have for the sample.
    """

    request: ScoreRequest
    slide: Slide
    folder: Path
    resumes: bool = field(default=False, init=False)
    started_s: float = field(default=0.0, init=False)
    """How long the workers took to start, s."""
    _executor: Executor | None = field(default=None, init=False)
    _timed: TimedExecutor | None = field(default=None, init=False)
    _held: ExitStack = field(default_factory=ExitStack, init=False)

    @property
    def spread(self) -> dict[str, Any]:
        """How the work is spread."""
        return self._executor.describe() if self._executor is not None else {"executor": "none", "workers": 0}

    @contextmanager
    def lend(self, *asked: Any, **named: Any) -> Iterator[Executor]:
        """Lend the executor that all rounds share, made for what the first one asks; see OnePool.lend."""
        if self._executor is None:
            start = time.perf_counter()
            pool = OnePool(self.request.settings, self.request.scheduler)
            self._executor = self._held.enter_context(pool.lend(*asked, **named))
            self.started_s = time.perf_counter() - start
        self._timed = TimedExecutor(self._executor)
        yield self._timed

    def close(self) -> float:
        """Stop the workers and return how long that took, s."""
        start = time.perf_counter()
        self._executor = None
        self._held.close()
        return time.perf_counter() - start

    def rounds(self, sample: Sample, seconds: float) -> Rounds:
        """Score the sample once and then for this long, and one region of it alone."""
        cold = self.round(sample.boxes_l0)
        warm: list[Round] = []
        until = time.monotonic() + seconds
        while len(warm) < LEAST_ROUNDS or time.monotonic() < until:
            warm.append(self._both(sample))
        middle = sample.boxes_l0[len(sample.boxes_l0) // 2]
        return Rounds(cold, warm, [self.round([middle]) for _ in range(LEAST_ROUNDS)])

    def _both(self, sample: Sample) -> Round:
        """Score the sample; what is said of model tiles is said of their own regions."""
        found = self.round(sample.boxes_l0)
        if not sample.tile_boxes_l0:
            return found
        alone = self.request.settings.model_copy(update={"evidence": "tiles"})
        tiles = self.round(sample.tile_boxes_l0, alone)
        return replace(found, done={**found.done, TILE_PASS: tiles.done.get(TILE_PASS, ())})

    def round(self, boxes_l0: Sequence[Box], settings: Settings | None = None) -> Round:
        """Score what lies in these boxes, level-0 px, with all that a run writes. Raises what a run raises."""
        drawn = self.folder / "regions.geojson"
        drawn.write_text(json.dumps(drawn_boxes(boxes_l0)), encoding="utf-8")
        wanted = settings or self.request.settings
        request = replace(self.request, settings=wanted, roi=drawn, out=self.folder / "run")
        self._timed = None
        start = time.perf_counter()
        with RunFolder.create(request.out) as folder:
            result = score_into(folder, self.slide, request, self)
        wall_s = time.perf_counter() - start
        maps = folder.final / FOLDER
        chunks = {path.name: _chunk_sizes(path) for path in maps.iterdir()} if maps.is_dir() else {}
        shutil.rmtree(folder.final)
        return Round(wall_s, dict(result.provenance["seconds"]), self._done(), chunks)

    def _done(self) -> dict[str, list[Done]]:
        """Return the tasks of the round that just ended."""
        return dict(self._timed.done) if self._timed is not None else {}


def _chunk_sizes(store: Path) -> tuple[int, ...]:
    """Return the sizes of the chunks of a map's full resolution, bytes."""
    return tuple(path.stat().st_size for path in (store / "0").rglob("*") if path.is_file() and path.name.isdecimal())


def drawn_boxes(boxes_l0: Sequence[Box]) -> dict[str, Any]:
    """Return the boxes as GeoJSON, as if somebody had drawn them."""
    corners = [
        [[box.x, box.y], [box.right, box.y], [box.right, box.bottom], [box.x, box.bottom], [box.x, box.y]]
        for box in boxes_l0
    ]
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
            for ring in corners
        ],
    }
