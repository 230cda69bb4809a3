"""What drives the passes over a slide: one executor, progress, seconds, and the regions that no worker survived."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.flows.request import Progress
from wsi_pipeline.provenance import Stopwatch


class Timed(Protocol):
    """An outcome that says how long its parts took."""

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> s."""
        ...


Outcome = TypeVar("Outcome", bound=Timed)


@dataclass
class Driver:
    """Runs functions over tasks. `skipped`: the tasks that killed two workers and were left out, of all passes."""

    executor: Executor
    progress: Progress
    watch: Stopwatch
    skipped: list[Any] = field(default_factory=list)

    def run(
        self,
        function: Callable[[Any], Outcome],
        tasks: Iterable[Any],
        stage: tuple[str, int],
        *,
        device: bool = False,
    ) -> list[Outcome]:
        """Run `function` over all tasks; report progress as `stage` (name, how many), add up the seconds of its parts.

        `device`: the function wants a GPU, where the run uses one.
        """
        name, total = stage
        outcomes: list[Outcome] = []
        self.progress(name, 0, total)
        for outcome in self.executor.run(function, tasks, device=device):
            outcomes.append(outcome)
            self.progress(name, len(outcomes), total)
            for part, seconds in outcome.seconds.items():
                self.watch.add(f"region_{part}", seconds)
        self.skipped.extend(self.executor.given_up)
        return outcomes
