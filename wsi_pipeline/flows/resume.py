"""Going on after a kill: what identifies a run's work, and an executor that runs no region twice."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import settings_hash
from wsi_pipeline.engine.interface import Executor, Outcome, Task
from wsi_pipeline.export.journal import read_outcome, recorded, write_outcome
from wsi_pipeline.flows.networks import Networks
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.provenance import versions

JOURNAL = "journal"
"""Folder of the outcomes, one folder per pass in it."""


def request_key(request: ScoreRequest, networks: Networks, assay: AssayProfile) -> dict[str, Any]:
    """Return all that a user asked for and that can change a slide's result, and this product's version."""
    said = {kind: [chosen.manifest.marker, chosen.manifest.trained_on] for kind, chosen in networks.chosen().items()}
    return {
        "settings": settings_hash(request.settings, assay, networks.weights()),
        "said_of_weights": said,
        "mpp": request.mpp,
        "assume_mpp": request.assume_mpp,
        "reader": request.reader,
        "stain": request.stain,
        "roi": _digest(request.roi),
        "pieces": list(request.pieces),
        "version": versions()["wsi-her2"],
    }


def work_key(request: ScoreRequest, plan: RunPlan, sha256: str) -> dict[str, Any]:
    """Return what must be equal for the finished regions of a run to be those of another: slide, request and code."""
    return request_key(request, plan.networks, plan.assay) | {
        "slide": sha256,
        "read_with": plan.slide.reader,
        "runtimes": {kind: repr(chosen.network.runtime) for kind, chosen in plan.networks.chosen().items()},
        "versions": versions(),
        "code": code_digest(),
    }


@cache
def code_digest() -> str:
    """Return the sha256 of this package's source, 64 hex digits: an edited function gives other regions."""
    root = Path(sys.modules[__name__.split(".", maxsplit=1)[0]].__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _digest(path: Path | None) -> str | None:
    """Return the sha256 of a file, 64 hex digits; of nothing where it cannot be read, which the run will say."""
    if path is None:
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return hashlib.sha256().hexdigest()


class NumberedTask(NamedTuple):
    """A task and its place among those of its pass, which is the same in every attempt."""

    number: int
    task: Any


def run_recorded(function: Callable[[Task], Outcome], folder: Path, numbered: NumberedTask) -> Outcome:
    """Run the task where the worker is, and keep its outcome; by then all that the region wrote is there."""
    outcome = function(numbered.task)
    write_outcome(folder, numbered.number, outcome)
    return outcome


class JournaledExecutor:
    """Keeps the outcomes of another executor, and runs only what has none yet.

    Workers keep them, not this process, so that a kill costs the regions in flight and none that was done.
    """

    def __init__(self, executor: Executor, folder: Path) -> None:
        """Keep the outcomes of `executor` in a folder inside `folder`, which all workers reach."""
        self._executor = executor
        self._folder = folder / JOURNAL
        self.taken_up = 0
        """How many outcomes came from an earlier attempt."""

    @property
    def given_up(self) -> list[Any]:
        """Tasks of the last run that killed two workers."""
        return [numbered.task for numbered in self._executor.given_up]

    def run(
        self, function: Callable[[Task], Outcome], tasks: Iterable[Task], *, device: bool = False
    ) -> Iterator[Outcome]:
        """Yield the outcomes that are kept, then those of all other tasks; see Executor.run.

        `function` names the class of its outcome as its return type.
        """
        name = function.__name__
        folder, kind = self._folder / name, get_type_hints(function)["return"]
        folder.mkdir(parents=True, exist_ok=True)
        done = set()
        for number, path in sorted(recorded(folder).items()):
            outcome = read_outcome(path, kind)
            if outcome is not None:
                done.add(number)
                yield outcome
        self.taken_up += len(done)
        left = (NumberedTask(number, task) for number, task in enumerate(tasks) if number not in done)
        yield from self._executor.run(partial(run_recorded, function, folder), left, device=device)

    def describe(self) -> dict[str, Any]:
        """Return what the executor says of itself."""
        return self._executor.describe()

    def stop(self) -> None:
        """Stop the executor."""
        self._executor.stop()

    def close(self) -> None:
        """Leave the executor open: whoever lent it closes it."""
