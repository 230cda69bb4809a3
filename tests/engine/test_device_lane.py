"""Tasks for a GPU: where they run, how many at a time, and what happens when that worker dies.

The resource is a label, so that processors can play GPUs here.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import pytest
from distributed import LocalCluster, Nanny, get_worker

from wsi_pipeline.engine.executors import SerialExecutor, make_executor
from wsi_pipeline.engine.interface import EngineOptions, Executor
from wsi_pipeline.engine.local_cluster import gpu_names
from wsi_pipeline.errors import ClusterError


class Ran(NamedTuple):
    """Where and when a task ran; the clock is the machine's."""

    number: int
    worker: str
    pid: int
    gpus: str
    start: float
    end: float


def work(number: int) -> tuple[int, str, int, str, float, float]:
    """Take 0.03 s and return what makes a Ran; workers do not know its class."""
    start = time.monotonic()
    time.sleep(0.03)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return number, str(get_worker().name), os.getpid(), visible, start, time.monotonic()


def ran(executor: Executor, count: int, *, device: bool) -> list[Ran]:
    return [Ran(*outcome) for outcome in executor.run(work, range(count), device=device)]


def most_at_once(tasks: list[Ran]) -> int:
    """Return the largest number of tasks that ran at one moment."""
    return max(sum(other.start <= task.start < other.end for other in tasks) for task in tasks)


@contextmanager
def executor(options: EngineOptions, scheduler: str | None, gpus: tuple[int, ...]) -> Iterator[Executor]:
    made = make_executor(options, scheduler, gpus)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _workers_can_unpickle_our_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the functions of this file by value: workers cannot import a test."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.slow
def test_device_tasks_keep_to_the_gpu_and_the_others_run_anywhere() -> None:
    with executor(EngineOptions(workers=1, device_threads=2, tasks_ahead=2), None, (0,)) as lane:
        assert lane.describe() == {
            "executor": "dask local cluster", "workers": 2, "threads": 3, "gpu_threads": 2
        }  # fmt: skip
        on_gpu = ran(lane, 24, device=True)
        assert sorted(task.number for task in on_gpu) == list(range(24))
        assert {(task.worker, task.gpus) for task in on_gpu} == {("gpu-0", "0")}
        assert len({task.pid for task in on_gpu}) == 1
        assert most_at_once(on_gpu) == 2
        anywhere = ran(lane, 30, device=False)
        assert {(task.worker, task.gpus) for task in anywhere} == {("gpu-0", "0"), ("cpu-0", "")}


@pytest.mark.slow
def test_every_gpu_has_a_worker_that_sees_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f2c")
    with executor(EngineOptions(workers=1, device_threads=2), None, (0, 1)) as lane:
        tasks = ran(lane, 30, device=True)
    seen = {(task.worker, task.gpus) for task in tasks}
    assert seen == {("gpu-0", "3"), ("gpu-1", "GPU-5f2c")}
    for worker in ("gpu-0", "gpu-1"):
        assert most_at_once([task for task in tasks if task.worker == worker]) <= 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3, GPU-5f2c"


@pytest.mark.slow
def test_device_tasks_are_handed_out_a_few_at_a_time() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    with executor(EngineOptions(workers=1, device_threads=2, tasks_ahead=2), None, (0,)) as lane:
        outcomes = lane.run(work, tasks(), device=True)
        next(outcomes)
        assert len(taken) <= 2 * 2 + 2, "the ordinary worker's thread does not count"
        assert len(list(outcomes)) == 29


@pytest.mark.slow
def test_without_a_gpu_device_tasks_are_like_all_others() -> None:
    with executor(EngineOptions(workers=2, device_threads=3), None, ()) as plain:
        tasks = ran(plain, 20, device=True)
        assert "gpu_threads" not in plain.describe()
    assert {(task.worker, task.gpus) for task in tasks} == {("cpu-0", "all"), ("cpu-1", "all")}


@pytest.mark.parametrize("device", [True, False])
def test_serial_ignores_the_lane(device: bool) -> None:
    serial = make_executor(EngineOptions(executor="serial"), None, (0,))
    assert isinstance(serial, SerialExecutor)
    assert list(serial.run(abs, [-1, -2], device=device)) == [1, 2]


@pytest.mark.slow
def test_a_killed_gpu_worker_comes_back_with_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    def die_once(number: int) -> tuple[int, str, int, str, float, float]:
        mark = tmp_path / f"died-{number}"
        if number == 5 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return work(number)

    with executor(EngineOptions(workers=1, device_threads=2), None, (0,)) as lane:
        tasks = [Ran(*outcome) for outcome in lane.run(die_once, range(16), device=True)]
        assert lane.describe()["gpu_threads"] == 2
    assert (tmp_path / "died-5").exists()
    assert sorted(task.number for task in tasks) == list(range(16))
    assert {(task.worker, task.gpus) for task in tasks} == {("gpu-0", "7")}
    assert len({task.pid for task in tasks}) == 2
    assert most_at_once(tasks) <= 2


@pytest.mark.slow
def test_a_scheduler_is_asked_for_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=1, threads_per_worker=2, **quiet) as cluster:
        address = cluster.scheduler_address
        start = rf'start one per GPU: dask worker {address} --nthreads 3 --resources "GPU=3"'
        with pytest.raises(ClusterError, match=start):
            make_executor(EngineOptions(device_threads=3), address, (0,))
        with executor(EngineOptions(), address, ()) as plain:
            assert {task.worker for task in ran(plain, 4, device=True)} == {"0"}
        options = {"nthreads": 4, "resources": {"GPU": 3}, "host": "127.0.0.1"}
        cluster.worker_spec["with-gpu"] = {"cls": Nanny, "options": options}
        cluster.sync(cluster._correct_state)
        cluster.wait_for_workers(2)
        with executor(EngineOptions(), address, (0,)) as lane:
            assert lane.describe() == {"executor": "dask scheduler", "workers": 2, "threads": 6, "gpu_threads": 3}
            tasks = ran(lane, 18, device=True)
            assert {task.worker for task in tasks} == {"with-gpu"}
            assert most_at_once(tasks) <= 3
            del cluster.worker_spec["with-gpu"]
            cluster.sync(cluster._correct_state)
            monkeypatch.setattr("wsi_pipeline.engine.dask_executor.WORKERLESS_SECONDS", 1)
            with pytest.raises(ClusterError, match="has had no worker with the resource GPU for 1 s"):
                ran(lane, 3, device=True)


def test_gpus_keep_the_names_that_cuda_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_names(()) == []
    assert gpu_names((0, 2)) == ["0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-abc,5")
    assert gpu_names((0, 1)) == ["2", "MIG-abc"]
    with pytest.raises(ClusterError, match="CUDA_VISIBLE_DEVICES: '2,MIG-abc,5' has no GPU number 3"):
        gpu_names((0, 3))
