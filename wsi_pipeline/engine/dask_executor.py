"""Regions on dask: a local cluster of processes, or a scheduler that is already there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any, Generic

import dask
from distributed import Future, wait
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from wsi_pipeline.engine.fork_server import start_method
from wsi_pipeline.engine.interface import GPU, EngineOptions, Outcome, Task
from wsi_pipeline.engine.interrupts import interrupts_held
from wsi_pipeline.engine.joining import client_of, require_answer
from wsi_pipeline.engine.local_cluster import METHOD, start_local_cluster, stop_local_cluster
from wsi_pipeline.engine.memory import Allotment, WorkerLimit
from wsi_pipeline.errors import ClusterError, StoppedError
from wsi_pipeline.holding import Holding, quiet_loggers

WORKERLESS_SECONDS = 30
"""How long a run waits for a worker when there is none; a killed local worker is back after two."""

LOOK_SECONDS = 0.5
"""How long a run waits for a region before it looks whether it was stopped."""

LEAVE_SECONDS = 20
"""How long regions that still run may take to end when the run is given up."""

_dask_settings = Holding(
    lambda: dask.config.set(
        {"distributed.admin.log-format": "%(message)s", "distributed.worker.daemon": False, METHOD: start_method()}
    )
)
"""As long as there is an executor: workers that are started anew after a crash heed them, too."""


class _Tasks(Generic[Task]):
    """The tasks of one run: those to come, and suspects, which were on a worker when it died.

    dask blames all that a dead worker held, so a suspect is tried once more with nothing else in flight.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._coming = iter(tasks)
        self._suspects: deque[Task] = deque()
        self.flying: dict[Future[Any], Task] = {}
        self.alone = False
        """Whether what flies is one suspect."""

    def take(self, room: int) -> list[Task]:
        """Return what to hand out now, at most `room` tasks; only one suspect while there are any, and none beside."""
        if self.flying and (self.alone or self._suspects):
            return []
        self.alone = bool(self._suspects)
        return [self._suspects.popleft()] if self.alone else list(islice(self._coming, room))

    def suspect(self, task: Task) -> None:
        """Try `task` again later, alone."""
        self._suspects.append(task)


class DaskExecutor:
    """Keeps a bounded number of regions in flight, so that neither scheduler nor client fills up."""

    def __init__(
        self, options: EngineOptions, scheduler: str | None, gpus: tuple[int, ...], allotment: Allotment
    ) -> None:
        """Start a local cluster with the workers of `allotment`, one for each of `gpus`, or join `scheduler`.

        Raises ClusterError.
        """
        self._options = options
        self._gpus = gpus
        self._allotment = allotment
        self._name = f"--scheduler {scheduler}" if scheduler else "dask"
        self._flying: dict[Future[Any], Any] = {}
        self._stopped = False
        self.given_up: list[Any] = []
        with ExitStack() as held:
            held.enter_context(quiet_loggers())
            held.enter_context(_dask_settings())
            self._start(scheduler)
            self._held = held.pop_all()
        if scheduler and gpus:
            self._require_gpu(scheduler)

    def _start(self, scheduler: str | None) -> None:
        """Start the cluster or find the scheduler, and join it. Raises ClusterError."""
        if scheduler:
            require_answer(scheduler)
        self._cluster = None if scheduler else start_local_cluster(self._options, self._gpus, self._allotment)
        try:
            self._client = client_of(self._cluster or scheduler)
        except (OSError, TimeoutError) as error:
            self._close_cluster()
            raise ClusterError(self._name, f"cannot be joined ({error})", "try --set engine.executor=serial") from error
        except KeyboardInterrupt:
            self._close_cluster()
            raise

    def _require_gpu(self, scheduler: str) -> None:
        """Raise ClusterError, the scheduler left, unless one of its workers has a GPU."""
        with self._losses_named():
            if self._threads(device=True):
                return
        self.close()
        threads = self._options.device_threads
        start = f'dask worker {scheduler} --nthreads {threads} --resources "{GPU}={threads}"'
        raise ClusterError(self._name, f"no worker there declares the resource {GPU}", f"start one per GPU: {start}")

    def run(
        self, function: Callable[[Task], Outcome], tasks: Iterable[Task], *, device: bool = False
    ) -> Iterator[Outcome]:
        """Yield the outcomes as they come; tasks of a lost worker run again elsewhere.

        Raises ClusterError, StoppedError, and what the function raises.

        A task that kills a second worker, alone on it, is left out and found in `given_up`.
        """
        device = device and bool(self._gpus)
        wanted = {GPU: 1} if device else None
        mine = _Tasks(tasks)
        self._flying, self.given_up = mine.flying, []
        while True:
            with self._losses_named():
                for task in mine.take(self._room(device=device)):
                    mine.flying[self._client.submit(function, task, pure=False, resources=wanted)] = task
                done = self._first_done(device=device)
            if not done:
                return
            fetched = self._fetched(done)
            for future in done:
                task = mine.flying.pop(future)
                if future in fetched:
                    yield fetched[future]
                elif not self._killed(future):
                    yield self._outcome(future)
                elif mine.alone:
                    self.given_up.append(task)
                else:
                    mine.suspect(task)
                future.release()

    def _fetched(self, done: set[Future[Any]]) -> dict[Future[Any], Any]:
        """Return the outcomes of the futures that went well, fetched in one message; none if one was lost meanwhile."""
        well = [future for future in done if future.status == "finished"]
        with self._losses_named(), self._landing():
            try:
                return dict(zip(well, self._client.gather(well), strict=True))
            except KilledWorker:
                return {}

    def _killed(self, future: Future[Any]) -> bool:
        """Tell whether the task came to nothing because its worker died, or had no memory left for it."""
        with self._losses_named():
            return isinstance(future.exception(), KilledWorker | MemoryError)

    def _outcome(self, future: Future[Any]) -> Any:
        """Return what the function returned; its error, once nothing runs any more that could write into the run."""
        with self._losses_named(), self._landing():
            return future.result()

    @contextmanager
    def _landing(self) -> Iterator[None]:
        """Wait after an error until no region is in flight."""
        with ExitStack() as failing:
            failing.callback(self._land)
            yield
            failing.pop_all()

    def _land(self) -> None:
        """Wait, not for ever, until no region is in flight."""
        with suppress(TimeoutError, CancelledError, CommClosedError), self._client.as_current():
            wait(list(self._flying), LEAVE_SECONDS)
        self._flying.clear()

    def _threads(self, *, device: bool) -> int:
        """Return how many threads could take tasks at this moment: all of them, or those beside a GPU."""
        if not device:
            return int(sum(self._client.nthreads().values()))
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return int(sum(min(worker["nthreads"], worker["resources"].get(GPU, 0)) for worker in workers))

    def _room(self, *, device: bool) -> int:
        """Return how many more regions the workers of this moment should be given."""
        threads = max(self._threads(device=device), 1)
        return max(threads * self._options.tasks_ahead - len(self._flying), 0)

    def _first_done(self, *, device: bool) -> set[Future[Any]]:
        """Wait until a region in flight is done, well or badly, and return those that are.

        Raises ClusterError, StoppedError.
        """
        workerless_at = time.monotonic() + WORKERLESS_SECONDS
        while self._flying:
            if self._stopped:
                raise StoppedError(self._name, "was stopped", "the same command goes on")
            try:
                with self._client.as_current():
                    return set(wait(list(self._flying), LOOK_SECONDS, "FIRST_COMPLETED").done)
            except TimeoutError as error:
                if time.monotonic() < workerless_at:
                    continue
                workerless_at = time.monotonic() + WORKERLESS_SECONDS
                if not self._threads(device=device):
                    self._flying.clear()
                    worker = f"worker with the resource {GPU}" if device else "worker"
                    problem = f"has had no {worker} for {WORKERLESS_SECONDS} s"
                    raise ClusterError(self._name, problem, "start dask workers, then run again") from error
        return set()

    @contextmanager
    def _losses_named(self) -> Iterator[None]:
        """Turn what dask raises when a scheduler is gone into ClusterError."""
        try:
            yield
        except (CancelledError, CommClosedError) as error:
            self._flying.clear()
            problem = "the dask scheduler was lost during the run"
            raise ClusterError(self._name, problem, "start it again, then run again") from error

    def describe(self) -> dict[str, Any]:
        """Return the kind of cluster and how many workers and threads it has now."""
        with self._losses_named():
            threads = self._client.nthreads()
            lane = {"gpu_threads": self._threads(device=True)} if self._gpus else {}
        kind = "dask local cluster" if self._cluster else "dask scheduler"
        memory = self._allotment.describe() if self._cluster else {}
        return {"executor": kind, "workers": len(threads), "threads": sum(threads.values()), **lane, **memory}

    def limits(self) -> tuple[WorkerLimit, ...]:
        """Return what limits each worker that is there now."""
        with self._losses_named():
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return tuple(WorkerLimit(worker["memory_limit"] or 0, worker["nthreads"]) for worker in workers)

    def stop(self) -> None:
        """Let `run`, which another thread may be in, raise StoppedError soon."""
        self._stopped = True

    def close(self) -> None:
        """Leave the scheduler, and stop the cluster that was started here.

        Regions still running on workers that are not ours are waited for, or they would write into a folder that the
        run has deleted.
        """
        with interrupts_held(), self._held:
            if self._flying and not self._cluster:
                self._land()
            self._client.close(timeout=5)
            self._close_cluster()

    def _close_cluster(self) -> None:
        """Stop the cluster that was started here, if one was."""
        if self._cluster:
            stop_local_cluster(self._cluster)
