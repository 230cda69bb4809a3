"""Worker processes on this machine: one thread each for the processors, several threads around each GPU."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Mapping
from typing import Any

import dask
from distributed import Nanny, Scheduler, SpecCluster

from wsi_pipeline.engine.fork_server import WORKER_VARIABLES, start_fork_server
from wsi_pipeline.engine.interface import GPU, EngineOptions
from wsi_pipeline.engine.interrupts import interrupts_held
from wsi_pipeline.engine.memory import Allotment
from wsi_pipeline.errors import ClusterError

LOOPBACK = "127.0.0.1"
"""Nobody outside this machine can reach a worker."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""CUDA's variable: the GPUs that a process may see, by number or UUID; empty for none."""

BEFORE_START = "distributed.nanny.pre-spawn-environ"
"""Dask's name of the variables that a worker has from its first moment, where it is started afresh."""

METHOD = "distributed.worker.multiprocessing-method"
"""Dask's name of how worker processes are started."""

HOLDS_MEMORY = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 1.0,
    "distributed.worker.memory.monitor-interval": "100ms",
}
"""What becomes of a worker that holds more than its limit: it is killed, and its region tried again alone.

Regions leave nothing in a worker that could be spilled to disk. A worker that only paused, as dask's would at 80 %,
would keep its region and never go on. The nanny looks ten times a second at the resident memory, so that what a worker
takes within a tenth of a second comes on top.
"""

QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
"""What dask looks at for its dashboard, which a local cluster has not: it takes workers 3 % of their time."""


def start_local_cluster(options: EngineOptions, gpus: tuple[int, ...], allotment: Allotment) -> SpecCluster:
    """Start the worker processes of `allotment` on the loopback interface, without a dashboard. Raises ClusterError.

    Ordinary workers have one thread and, in a run with GPUs, see none of them. Each GPU has a worker of its own, which
    sees that GPU only and offers its threads as the resource GPU.
    """
    cluster = None
    workers = {**_processor_workers(gpus, allotment), **_gpu_workers(options, gpus, allotment)}
    settings = HOLDS_MEMORY | QUIET | {BEFORE_START: dask.config.get(BEFORE_START) | WORKER_VARIABLES}
    start_fork_server()
    try:
        with interrupts_held(), dask.config.set(settings):
            cluster = SpecCluster(
                workers={name: {"cls": Nanny, "options": choices} for name, choices in workers.items()},
                scheduler={
                    "cls": Scheduler,
                    "options": {
                        "host": LOOPBACK, "port": 0, "protocol": "tcp://", "dashboard": False,
                        "dashboard_address": f"{LOOPBACK}:0",  # None would take port 8787
                        "allowed_failures": 0,  # the executor tries again itself, one suspect at a time
                    },
                },
                silence_logs=logging.CRITICAL,
            )  # fmt: skip
    except KeyboardInterrupt:  # it waited until the cluster was there
        if cluster:
            stop_local_cluster(cluster)
        raise
    except (OSError, TimeoutError, RuntimeError) as error:
        raise ClusterError(
            "dask", f"the local workers did not start ({error})", "try --set engine.executor=serial"
        ) from error
    return cluster


def stop_local_cluster(cluster: SpecCluster) -> None:
    """Stop a local cluster and its processes, come what may: the run is over, and its own error is the one to show."""
    with interrupts_held():
        try:
            cluster.close(timeout=10)
        except (AssertionError, TimeoutError):
            # distributed cannot join a worker that its nanny is just starting anew after a crash
            for worker in multiprocessing.active_children():
                worker.kill()


def gpu_names(gpus: tuple[int, ...]) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES calls the GPUs that this process knows by these numbers. Raises ClusterError."""
    visible = os.environ.get(VISIBLE, "")
    if not visible:
        return [str(number) for number in gpus]
    names = [name.strip() for name in visible.split(",")]
    if max(gpus, default=-1) >= len(names):
        raise ClusterError(VISIBLE, f"{visible!r} has no GPU number {max(gpus)}", "name them all, or unset it")
    return [names[number] for number in gpus]


def _processor_workers(gpus: tuple[int, ...], allotment: Allotment) -> dict[str, dict[str, Any]]:
    """Return the ordinary workers."""
    hidden = {VISIBLE: ""} if gpus else {}
    return {f"cpu-{number}": _worker(1, allotment.limit, hidden) for number in range(allotment.workers)}


def _gpu_workers(options: EngineOptions, gpus: tuple[int, ...], allotment: Allotment) -> dict[str, dict[str, Any]]:
    """Return one worker for each GPU; what is restarted after a crash has the same GPU and resource."""
    threads = options.device_threads
    return {
        f"gpu-{number}": _worker(threads, allotment.gpu_limit, {VISIBLE: name}) | {"resources": {GPU: threads}}
        for number, name in enumerate(gpu_names(gpus))
    }


def _worker(threads: int, limit: int, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of a worker that has `variables` beside this process's environment.

    `limit`: resident memory that it may hold, bytes.
    """
    return {
        "env": {**os.environ, **variables},  # a copied process has the environment of when its original was started
        "nthreads": threads,
        "host": LOOPBACK,
        "protocol": "tcp://",
        "dashboard": False,
        "memory_limit": limit,
        "preload": ["wsi_pipeline.engine.worker_start"],
        "silence_logs": logging.CRITICAL,
    }
