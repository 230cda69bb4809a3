"""Executors: the serial oracle, dask in flight, losses named, Ctrl-C held."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from wsi_pipeline.config import load_settings
from wsi_pipeline.engine.executors import SerialExecutor, make_executor
from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.errors import ClusterError, CorruptSlideError, StoppedError
from wsi_pipeline.flows.memory_estimate import example_need
from wsi_pipeline.flows.pool import SharedPool

MEGABYTES = 5


def test_serial_keeps_the_order_and_is_lazy() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in (3, 1, 2):
            taken.append(number)
            yield number

    outcomes = SerialExecutor().run(lambda number: number * 10, tasks())
    assert next(outcomes) == 30
    assert taken == [3]
    assert list(outcomes) == [10, 20]


@pytest.mark.parametrize("executor", ["serial", "dask"])
def test_a_stopped_executor_ends_its_run(executor: str) -> None:
    made = make_executor(EngineOptions(executor=executor, workers=1), None)
    try:
        outcomes = made.run(abs, range(-50, 0))
        assert next(outcomes) > 0
        made.stop()
        with pytest.raises(StoppedError):
            list(outcomes)
    finally:
        made.close()


def test_serial_is_chosen_without_importing_dask() -> None:
    program = (
        "import sys; from wsi_pipeline.engine.executors import *;"
        "print(make_executor(EngineOptions(executor='serial'), None).describe(), 'dask' in sys.modules)"
    )
    folder = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.strip() == "{'executor': 'serial', 'workers': 1} False"


@pytest.mark.parametrize(
    "wrong",
    [
        {"executor": "spark"}, {"workers": -1}, {"tasks_ahead": 0}, {"max_unreadable_percent": 101}, {"gpu": 1},
        {"device_threads": 0},
    ],
)  # fmt: skip
def test_options_refuse_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EngineOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_dask_runs_all_tasks_few_at_a_time_and_leaves_nobody() -> None:
    taken: list[int] = []
    before = {child.pid for child in psutil.Process().children(recursive=True)}

    def tasks() -> Iterator[int]:
        for number in range(40):
            taken.append(number)
            yield number

    def square(number: int) -> int:
        return number * number

    executor = make_executor(EngineOptions(workers=2, tasks_ahead=2), None)
    try:
        assert executor.describe() == {"executor": "dask local cluster", "workers": 2, "threads": 2}
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            heard = {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
            assert heard <= {"127.0.0.1"}, "nobody outside this machine can reach a worker"
        outcomes = executor.run(square, tasks())
        first = next(outcomes)
        assert len(taken) <= 2 * 2 + 2, "tasks are made as workers take them"
        assert sorted([first, *outcomes]) == [number**2 for number in range(40)]
        assert list(executor.run(square, [])) == []
    finally:
        executor.close()
    left = [
        child for child in psutil.Process().children(recursive=True)
        if child.pid not in before and not any("resource_tracker" in word for word in child.cmdline())
    ]  # fmt: skip
    assert left == []


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_two_clusters_on_one_machine_do_not_mind_each_other() -> None:
    executors = [make_executor(EngineOptions(workers=1), None) for _ in range(2)]
    try:
        assert [list(executor.run(abs, [-2])) for executor in executors] == [[2], [2]]
    finally:
        for executor in executors:
            executor.close()


@pytest.mark.slow
def test_dask_passes_errors_and_names_losses(tmp_path: Path) -> None:
    def fail(_number: int) -> int:
        raise CorruptSlideError("a.svs", "is broken", "copy it again")

    def die_once(number: int) -> int:
        mark = tmp_path / f"died-{number}"
        if number == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    def die_at_two(number: int) -> int:
        with (tmp_path / f"tried-{number}").open("a") as tries:
            tries.write("x")
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    executor = make_executor(EngineOptions(workers=1), None)
    try:
        with pytest.raises(CorruptSlideError, match=r"a\.svs: is broken \(copy it again\)"):
            list(executor.run(fail, [1]))
        assert sorted(executor.run(die_once, range(6))) == list(range(6))
        assert (tmp_path / "died-3").exists()
        assert executor.given_up == []
        assert sorted(executor.run(die_at_two, range(5))) == [0, 1, 3, 4], "those beside a killer are not to blame"
        assert executor.given_up == [2]
        assert (tmp_path / "tried-2").read_text() == "xx", "twice, then no more"
        assert list(executor.run(abs, [-3])) == [3]
        assert executor.given_up == []
    finally:
        executor.close()


@pytest.mark.slow
def test_a_scheduler_without_workers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster  # noqa: PLC0415

    monkeypatch.setattr("wsi_pipeline.engine.dask_executor.WORKERLESS_SECONDS", 1)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        executor = make_executor(EngineOptions(), cluster.scheduler_address)
        try:
            assert executor.describe() == {"executor": "dask scheduler", "workers": 0, "threads": 0}
            with pytest.raises(ClusterError, match=r"has had no worker for 1 s \(start dask workers"):
                list(executor.run(abs, [-1, -2]))
        finally:
            executor.close()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(ClusterError, match="--scheduler nonsense://x: no dask scheduler answers there"):
        make_executor(EngineOptions(), "nonsense://x")
    assert time.monotonic() - start < 8


@pytest.mark.slow
def test_ctrl_c_while_the_workers_are_joined_leaves_neither_client_nor_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsi_pipeline.engine import joining  # noqa: PLC0415

    made = []
    joined = joining.Client

    def join(*words: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        made.append(joined(*words, **options))
        return made[0]

    monkeypatch.setattr(joining, "Client", join)
    with pytest.raises(KeyboardInterrupt):
        make_executor(EngineOptions(workers=1), None)
    assert [client.status for client in made] == ["closed"]
    assert made[0].cluster.status.name == "closed"


@pytest.mark.slow
def test_a_cluster_that_cannot_be_closed_in_order_is_stopped_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import SpecCluster  # noqa: PLC0415

    executor = make_executor(EngineOptions(workers=1), None)
    assert list(executor.run(abs, [-1])) == [1]
    closed = SpecCluster.close

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("can only join a started process")

    monkeypatch.setattr(SpecCluster, "close", fail)
    executor.close()
    monkeypatch.setattr(SpecCluster, "close", closed)
    executor.close()
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


def _faults(_: int) -> int:
    """Return how many pages the system had to clear for the same array, made again and again."""
    for _ in range(3):
        np.ones(MEGABYTES << 20, np.uint8)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        np.ones(MEGABYTES << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator of memory")
def test_workers_keep_memory_for_the_next_array() -> None:
    made = make_executor(EngineOptions(executor="dask", workers=1), None)
    try:
        assert next(iter(made.run(_faults, [0]))) < MEGABYTES << 20 >> 12, "less than one of the 20 arrays' pages"
    finally:
        made.close()


def test_a_pool_whose_executor_was_stopped_or_lost_lends_one_that_works() -> None:
    settings = load_settings("serial", {})
    need = example_need(settings)

    def break_down(pool: SharedPool, error: Exception) -> None:
        with pool.lend((), need) as executor:
            executor.stop()
            raise error

    with closing(SharedPool(settings, None, ())) as pool:
        for error in (StoppedError("a run", "was stopped"), ClusterError("a cluster", "was lost")):
            with pytest.raises(type(error)):
                break_down(pool, error)
            with pool.lend((), need) as executor:
                assert list(executor.run(lambda number: number + 1, [4, 5])) == [5, 6]
