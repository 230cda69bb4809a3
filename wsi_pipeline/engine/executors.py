"""One interface for running regions: a serial executor, which is the oracle, and a lazy door to dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class EngineOptions(BaseModel):
    """How the work is spread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executor: str = Field("dask", pattern="^(serial|dask)$", description="serial runs in this process, for debugging")
    workers: int = Field(0, ge=0, description="local worker processes; 0 means one per processor")
    tasks_ahead: int = Field(2, ge=1, description="regions handed to each worker thread ahead of time")
    max_unreadable_percent: float = Field(
        5.0, ge=0, le=100, description="a slide with more unreadable pixels in its tissue fails, percent"
    )


class Executor(Protocol):
    """Runs one function over many tasks and yields the outcomes in any order."""

    def run(self, function: Callable[[Task], Outcome], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield `function(task)` for each task; errors of the function pass through."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what provenance records about the executor."""
        ...

    def close(self) -> None:
        """Free what the executor holds."""
        ...


class SerialExecutor:
    """Runs the tasks one by one in this process."""

    def run(self, function: Callable[[Task], Outcome], tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the tasks."""
        yield from map(function, tasks)

    def describe(self) -> dict[str, Any]:
        """Return the executor's name."""
        return {"executor": "serial", "workers": 1}

    def close(self) -> None:
        """Nothing is held."""


def make_executor(options: EngineOptions, scheduler: str | None) -> Executor:
    """Return the executor that the options ask for; `scheduler` is a dask address, or None for a local cluster.

    Raises ClusterError when the scheduler cannot be reached.
    """
    if options.executor == "serial" and scheduler is None:
        return SerialExecutor()
    from wsi_pipeline.engine.dask_executor import DaskExecutor  # noqa: PLC0415 - dask is heavy

    return DaskExecutor(options, scheduler)
