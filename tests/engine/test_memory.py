"""Memory: what there is, how it is shared out, and what becomes of a worker that takes more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.engine import memory
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.engine.memory import GB, Allotment, Load, WorkerLimit, allot, budget_bytes, group_limits

MB = 10**6
loads = st.builds(
    Load,
    st.integers(0, 3 * GB),
    st.integers(1, GB),
    st.integers(0, 2 * GB),
    st.integers(0, 3 * GB),
)


def options(budget_gb: float, workers: int, threads: int = 4) -> EngineOptions:
    return EngineOptions(memory_gb=budget_gb, workers=workers, device_threads=threads)


def test_the_groups_of_both_versions_and_those_above_limit(tmp_path: Path) -> None:
    groups, mount = tmp_path / "cgroup", tmp_path / "fs"
    (mount / "user" / "job").mkdir(parents=True)
    (mount / "memory" / "slurm" / "step").mkdir(parents=True)
    (mount / "user" / "job" / "memory.max").write_text("max\n")
    (mount / "user" / "memory.max").write_text("7000000\n")
    (mount / "memory" / "slurm" / "memory.limit_in_bytes").write_text("5000000\n")
    (mount / "memory" / "slurm" / "step" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    groups.write_text("9:cpu,cpuacct:/elsewhere\n4:memory:/slurm/step\n0::/user/job\n")
    assert sorted(group_limits(groups, mount)) == [5_000_000, 7_000_000, 9223372036854771712]
    assert group_limits(tmp_path / "no linux", mount) == []


def test_a_container_sees_its_limit_at_the_mount_itself(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/kubepods/pod7/not-visible-here\n")
    (tmp_path / "memory.max").write_text("3000000000\n")
    assert group_limits(tmp_path / "cgroup", tmp_path) == [3_000_000_000]


def test_the_budget_is_most_of_the_lesser_of_machine_and_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "memory.max").write_text("2000000\n")
    monkeypatch.setattr(memory, "PROCESS_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "GROUP_MOUNT", tmp_path)
    assert budget_bytes(EngineOptions()) == 1_600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert budget_bytes(EngineOptions()) == int(0.8 * memory.machine_bytes())
    assert budget_bytes(EngineOptions(memory_gb=1.25)) == 1_250_000_000


@given(loads, st.floats(0.1, 40), st.integers(1, 64), st.integers(0, 4), st.integers(1, 6))
def test_what_is_given_out_is_enough_and_never_more_than_there_is(
    load: Load, budget_gb: float, wanted: int, gpus: int, threads: int
) -> None:
    shared = allot(options(budget_gb, wanted, threads), gpus, load)
    assert 0 <= shared.workers <= wanted == shared.wanted
    if shared.workers == 0:
        assert load.whole(1, gpus, threads) == shared.estimate > shared.budget
        return
    assert shared.estimate == load.whole(shared.workers, gpus, threads) <= shared.budget
    assert load.parent + shared.workers * shared.limit + gpus * shared.gpu_limit <= shared.budget
    assert WorkerLimit(shared.limit, 1).holds(load)
    assert shared.gpu_limit >= load.on_gpu(threads)
    assert shared.workers == wanted or load.whole(shared.workers + 1, gpus, threads) > shared.budget


@given(loads, st.floats(0.1, 20), st.integers(1, 16), st.integers(0, GB))
def test_more_to_hold_never_gives_more_workers(load: Load, budget_gb: float, wanted: int, more: int) -> None:
    before = allot(options(budget_gb, wanted), 0, load)
    for name in ("parent", "worker", "region"):
        after = allot(options(budget_gb, wanted), 0, load._replace(**{name: getattr(load, name) + more}))
        assert after.workers <= before.workers
    assert allot(options(budget_gb + more / GB, wanted), 0, load).workers >= before.workers


def test_a_worker_without_a_limit_holds_everything() -> None:
    load = Load(0, 2 * GB, 3 * GB)
    assert [WorkerLimit(limit, 2).holds(load) for limit in (0, 8 * GB, 8 * GB - 1)] == [True, True, False]


@pytest.mark.slow
def test_a_worker_that_swells_is_killed_and_its_task_left_out(tmp_path: Path) -> None:
    limit = 450 * MB

    def swell_at_two(number: int) -> int:
        (tmp_path / f"tried-{number}-{os.getpid()}").touch()
        held = []
        while number == 2 and len(held) < 60:
            held.append(np.ones(25 * MB, np.uint8))
            (tmp_path / "held").write_text(str(len(held) * 25 * MB))
            time.sleep(0.1)
        return number

    shared = Allotment(wanted=2, workers=2, limit=limit, gpu_limit=0, budget=GB, estimate=GB, held=2 * limit)
    executor = make_executor(EngineOptions(workers=2), None, (), shared)
    try:
        assert [worker.limit for worker in executor.limits()] == [limit, limit]
        assert sorted(executor.run(swell_at_two, range(5))) == [0, 1, 3, 4]
        assert executor.given_up == [2]
        assert len(list(tmp_path.glob("tried-2-*"))) == 2, "in two processes, then no more"
        # It is looked at ten times a second: on a busy machine some looks come late, never as late as this.
        assert int((tmp_path / "held").read_text()) < 2 * limit, "the second one was stopped in time too"
        assert list(executor.run(abs, [-7])) == [7]
    finally:
        executor.close()


@pytest.mark.slow
def test_however_slowly_outcomes_are_taken_few_tasks_and_outcomes_are_under_way() -> None:
    made: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(60):
            made.append(number)
            yield number

    executor = make_executor(EngineOptions(workers=2, tasks_ahead=3), None)
    try:
        for taken, _ in enumerate(executor.run(abs, tasks()), start=1):
            time.sleep(0.01)
            assert len(made) - taken <= 2 * 3
    finally:
        executor.close()
    assert len(made) == 60


@pytest.mark.slow
def test_a_worker_near_its_limit_goes_on_and_one_that_is_refused_memory_is_not_asked_a_third_time() -> None:
    shared = Allotment(wanted=1, workers=1, limit=500 * MB, gpu_limit=0, budget=GB, estimate=GB, held=500 * MB)

    def fill(number: int) -> int:
        if number == 1:
            raise MemoryError
        kept = np.ones(320 * MB, np.uint8)  # with the interpreter more than 80 %, where dask by itself would pause
        time.sleep(0.5)
        return int(kept[number])

    executor = make_executor(EngineOptions(workers=1), None, (), shared)
    try:
        assert list(executor.run(fill, range(4))) == [1, 1, 1]
        assert executor.given_up == [1]
    finally:
        executor.close()
