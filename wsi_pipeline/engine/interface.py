"""What every executor is: options, and the interface of running one function over many tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")

GPU = "GPU"
"""The resource that workers with a GPU declare and tasks for a GPU ask for; one unit is one thread beside the GPU."""


class EngineOptions(BaseModel):
    """How the work is spread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str = Field("dask", pattern="^(serial|dask)$", description="serial runs in this process, for debugging")
    workers: int = Field(
        0, ge=0, description="local worker processes; 0 means one per processor that the GPUs' threads leave"
    )
    device_threads: int = Field(
        4, ge=1, description="threads that share one GPU: one computes while others read and write"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="memory that the run and its local workers may use together, 10^9 bytes; none means 80 % of what "
        "the machine or its container has",
    )
    tasks_ahead: int = Field(2, ge=1, description="regions handed to each worker thread ahead of time")
    open_seconds: float = Field(60.0, gt=0, description="a slide that is not opened after this time fails, s")
    max_unreadable_percent: float = Field(
        5.0, ge=0, le=100, description="a slide with more unreadable pixels in its tissue fails, percent"
    )


class Executor(Protocol):
    """Runs one function over many tasks and yields the outcomes in any order."""

    @property
    def given_up(self) -> Sequence[Any]:
        """Tasks of the last `run` without an outcome: each killed two workers, the second while it ran alone."""
        ...

    def run(
        self, function: Callable[[Task], Outcome], tasks: Iterable[Task], *, device: bool = False
    ) -> Iterator[Outcome]:
        """Yield `function(task)` for each task; errors of the function pass through.

        With `device` the tasks run where a GPU is, when the run uses one; the others run anywhere.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return what provenance records about the executor."""
        ...

    def stop(self) -> None:
        """Let `run`, which another thread may be in, raise StoppedError soon; nothing runs here afterwards."""
        ...

    def close(self) -> None:
        """Free what the executor holds."""
        ...


def usable_processors() -> int:
    """Return how many processors this process may use (fewer than the machine's on a shared server)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
