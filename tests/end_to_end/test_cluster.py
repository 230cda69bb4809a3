"""A scheduler and several workers in processes of their own: who dies or sleeps on the way changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SMALL_REGIONS = ("--set", "tiling.region_tiles=1", "--set", "engine.tasks_ahead=4")
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 60


@dataclass
class Cluster:
    """A running scheduler and its workers, which no nanny brings back."""

    address: str
    folder: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, threads: int) -> subprocess.Popen[bytes]:
        """Start a worker and return it once the scheduler knows it."""
        name = f"worker-{len(self.workers)}"
        words = [self.address, "--nthreads", str(threads), "--name", name, "--no-nanny", "--no-dashboard"]
        self.workers.append(_dask("worker", words, self.folder / name))
        _wait_for_words(self.folder / name, "Registered to", self.workers[-1])
        return self.workers[-1]

    def end(self) -> None:
        """Stop all processes, paused ones too."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait(20)


def _dask(kind: str, words: Sequence[str], log: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start `dask KIND WORDS` with what it says in `log`."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | settings
    with log.open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", kind, "--host", "127.0.0.1", *words],
            stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=log.parent,
        )  # fmt: skip


def _wait_for_words(log: Path, words: str, process: subprocess.Popen[bytes]) -> str:
    """Return the first line of `log` that holds `words`."""
    until = time.monotonic() + START_SECONDS
    while True:
        for line in log.read_text().splitlines():
            if words in line:
                return line
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


@contextmanager
def cluster(folder: Path, threads: Sequence[int], **settings: str) -> Iterator[Cluster]:
    """Yield a cluster with one worker for each of `threads`; `settings`: dask's own, for the scheduler."""
    folder.mkdir()
    scheduler = _dask("scheduler", ["--port", "0", "--no-dashboard"], folder / "scheduler", **settings)
    started = None
    try:
        address = _wait_for_words(folder / "scheduler", "Scheduler at:", scheduler).split()[-1]
        started = Cluster(address, folder, scheduler)
        for count in threads:
            started.add_worker(count)
        yield started
    finally:
        if started:
            started.end()
        else:
            scheduler.kill()
            scheduler.wait(20)


def _parts(folder: Path) -> int:
    """Return how many regions of an unfinished run in `folder` are measured."""
    return len(list(folder.glob(".run-*.partial-*/.parts/cells-??????.npy")))


def _wait_for_parts(folder: Path, run: subprocess.Popen[str], least: int) -> None:
    """Wait until the run has measured `least` regions."""
    until = time.monotonic() + START_SECONDS
    while _parts(folder) < least:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@dataclass(frozen=True)
class Running:
    """A run of the sample on a cluster, and how to hold its outcome against the serial one."""

    process: subprocess.Popen[str]
    out: Path
    oracle: Any
    assert_same: Callable[..., None]

    def ends_as_serial(self) -> Any:
        """Wait for the end, check that nothing differs from the serial run, and return the outcome."""
        _, words = self.process.communicate(timeout=90)
        outcome = type(self.oracle)(self.process.returncode, "", words, self.out)
        assert outcome.code == 0, words
        assert "Traceback" not in words
        self.assert_same(self.oracle, outcome)
        return outcome


@pytest.fixture
def run_on(
    oracle: Any, samples: Path, start: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path
) -> Iterator[Callable[[str], Running]]:
    """Return what starts a run of the oracle's sample on a scheduler."""
    begun: list[subprocess.Popen[str]] = []

    def begin(address: str) -> Running:
        out = tmp_path / "results" / "run"
        slide = samples / "phantom_heterogeneous.svs"
        begun.append(start("run", slide, "-o", out, *SMALL_REGIONS, "--scheduler", address))
        return Running(begun[-1], out, oracle, assert_same)

    yield begin
    for run in begun:
        run.kill()
        run.wait(20)


def _stop_midway(run: Running, workers: Sequence[subprocess.Popen[bytes]], total: int) -> None:
    """Stop all workers when a few regions are measured, and check that some are still to come."""
    _wait_for_parts(run.out.parent, run.process, least=3)
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    assert 3 <= _parts(run.out.parent) < total, "the run is in the middle of its regions"


def test_two_workers_of_two_threads(run_on: Callable[[str], Running], tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", (2, 2)) as four:
        engine = run_on(four.address).ends_as_serial().result["provenance"]["engine"]
    assert (engine["executor"], engine["workers"], engine["threads"]) == ("dask scheduler", 2, 4)


def test_a_killed_worker_is_done_without(run_on: Callable[[str], Running], oracle: Any, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", (1, 2)) as both:
        run = run_on(both.address)
        _stop_midway(run, both.workers, oracle.result["provenance"]["engine"]["regions"])
        victim, other = both.workers
        victim.kill()
        other.send_signal(signal.SIGCONT)
        run.ends_as_serial()
        assert victim.wait(20) == -signal.SIGKILL


def test_a_worker_that_joins_after_the_only_one_died_takes_over(
    run_on: Callable[[str], Running], oracle: Any, tmp_path: Path
) -> None:
    with cluster(tmp_path / "cluster", (1,)) as alone:
        run = run_on(alone.address)
        _stop_midway(run, alone.workers, oracle.result["provenance"]["engine"]["regions"])
        alone.workers[0].kill()
        alone.add_worker(2)
        run.ends_as_serial()


def test_a_paused_worker_goes_on_where_it_was(run_on: Callable[[str], Running], oracle: Any, tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", (1, 1)) as both:
        run = run_on(both.address)
        _stop_midway(run, both.workers, oracle.result["provenance"]["engine"]["regions"])
        sleeper, other = both.workers
        other.send_signal(signal.SIGCONT)
        with pytest.raises(subprocess.TimeoutExpired):
            run.process.wait(3)  # what the sleeper holds is missing
        sleeper.send_signal(signal.SIGCONT)
        run.ends_as_serial()


def test_a_worker_that_sleeps_too_long_is_done_without_and_leaves_the_result_alone(
    run_on: Callable[[str], Running], oracle: Any, tmp_path: Path
) -> None:
    with cluster(tmp_path / "cluster", (1, 1), DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="2s") as both:
        run = run_on(both.address)
        _stop_midway(run, both.workers, oracle.result["provenance"]["engine"]["regions"])
        sleeper, other = both.workers
        other.send_signal(signal.SIGCONT)
        run.ends_as_serial()
        before = _files(run.out)
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert _files(run.out) == before, "what it still writes goes to the unfinished folder's name"


def _files(folder: Path) -> dict[str, bytes]:
    """Return the content of all files in `folder`, hidden ones too, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
