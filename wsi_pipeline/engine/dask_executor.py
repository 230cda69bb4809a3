"""Regions on dask: a local cluster of processes, or a scheduler that is already there."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from wsi_pipeline.engine.executors import EngineOptions, Outcome, Task
from wsi_pipeline.errors import ClusterError

CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""


class DaskExecutor:
    """Keeps a bounded number of regions in flight, so that neither scheduler nor client fills up."""

    def __init__(self, options: EngineOptions, scheduler: str | None) -> None:
        """Start a local cluster, or join `scheduler`. Raises ClusterError."""
        self._options = options
        self._address = scheduler
        # people watch the progress bar; a lost worker is retried, and a lost cause is our own error
        for name in ("distributed", "distributed.nanny", "distributed.worker", "tornado.application"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        dask.config.set({"distributed.admin.log-format": "%(message)s", "distributed.worker.daemon": False})
        self._cluster = None if scheduler else _local_cluster(options)
        try:
            self._client = Client(self._cluster or scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"--scheduler {scheduler}", "no dask scheduler answers there", "start one, or leave the option out"
            ) from error

    def run(self, function: Callable[[Task], Outcome], tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Yield the outcomes as they come; tasks of a lost worker run again elsewhere. Raises ClusterError."""
        waiting = iter(tasks)
        threads = sum(self._client.nthreads().values()) or self._options.workers or 1
        flying = as_completed(loop=self._client.loop)
        for _, task in zip(range(threads * self._options.tasks_ahead), waiting, strict=False):
            flying.add(self._client.submit(function, task, pure=False))
        for future in flying:
            try:
                outcome = future.result()
            except KilledWorker as error:
                raise ClusterError(
                    "dask", f"a region killed {error.allowed_failures + 1} workers one after another", "see --debug"
                ) from error
            future.release()
            following = next(waiting, None)
            if following is not None:
                flying.add(self._client.submit(function, following, pure=False))
            yield outcome

    def describe(self) -> dict[str, Any]:
        """Return the kind of cluster and how many workers and threads it has now."""
        threads = self._client.nthreads()
        kind = "dask local cluster" if self._cluster else "dask scheduler"
        return {"executor": kind, "workers": len(threads), "threads": sum(threads.values())}

    def close(self) -> None:
        """Leave the scheduler, and stop the cluster that was started here."""
        self._client.close(timeout=5)
        if self._cluster:
            self._cluster.close(timeout=10)


def _local_cluster(options: EngineOptions) -> LocalCluster:
    """Start worker processes of one thread each on the loopback interface, without a dashboard."""
    return LocalCluster(
        n_workers=options.workers or usable_processors(),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit="auto",
        silence_logs=logging.CRITICAL,
    )


def usable_processors() -> int:
    """Return how many processors this process may use (fewer than the machine's on a shared server)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
