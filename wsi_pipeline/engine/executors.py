"""The serial executor, which is the oracle, and a lazy door to dask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from wsi_pipeline.engine.interface import EngineOptions, Outcome, Task
from wsi_pipeline.engine.memory import UNKNOWN_LOAD, Allotment, LimitedExecutor, WorkerLimit, allot
from wsi_pipeline.errors import StoppedError


class SerialExecutor:
    """Runs the tasks one by one in this process."""

    given_up: tuple[Any, ...] = ()
    """Always empty: a task that kills its process takes this one with it."""

    def __init__(self, allotment: Allotment | None = None) -> None:
        """Hold nothing; `allotment` is for the record."""
        self._allotment = allotment
        self._stopped = False

    def run(
        self,
        function: Callable[[Task], Outcome],
        tasks: Iterable[Task],
        *,
        device: bool = False,  # noqa: ARG002 - this process sees every GPU
    ) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the tasks. Raises StoppedError."""
        for task in tasks:
            if self._stopped:
                raise StoppedError("the run", "was stopped", "the same command goes on")
            yield function(task)

    def describe(self) -> dict[str, Any]:
        """Return the executor's name."""
        return {"executor": "serial", "workers": 1} | (self._allotment.describe() if self._allotment else {})

    def limits(self) -> tuple[WorkerLimit, ...]:
        """Return nothing: there are no workers."""
        return ()

    def stop(self) -> None:
        """Begin no further task."""
        self._stopped = True

    def close(self) -> None:
        """Nothing is held."""


def make_executor(
    options: EngineOptions, scheduler: str | None, gpus: tuple[int, ...] = (), allotment: Allotment | None = None
) -> LimitedExecutor:
    """Return the executor that the options ask for; `scheduler` is a dask address, or None for a local cluster.

    `gpus`: numbers of this machine's GPUs that the run uses; without any, tasks for a device run like all others. On a
    scheduler any number means that its workers with the resource GPU are used. `allotment`: how many local workers
    there are and what each may hold; without it all that are wanted, and equal parts of the budget.
    Raises ClusterError when the scheduler cannot be reached, or has no GPU although `gpus` asks for one.
    """
    if options.executor == "serial" and scheduler is None:
        return SerialExecutor(allotment)
    from wsi_pipeline.engine.dask_executor import DaskExecutor  # noqa: PLC0415 - dask is heavy

    return DaskExecutor(options, scheduler, gpus, allotment or allot(options, len(gpus), UNKNOWN_LOAD))
