"""However the work is spread, and whoever dies on the way, the result is the same."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.said import own_words
from tests.end_to_end.worker_processes import workers_of

pytestmark = pytest.mark.slow

SMALL_REGIONS = ("--set", "tiling.region_tiles=1")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("workers", [1, 3])
def test_dask_equals_serial(
    workers: int,
    oracle: Any,
    samples: Path,
    score: Callable[..., Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    slide = samples / "phantom_heterogeneous.svs"
    words = (*SMALL_REGIONS, "--set", f"engine.workers={workers}")
    outcome = score(slide, tmp_path / "dask", *words, serial=False)
    assert outcome.code == 0, outcome.stderr
    engine = outcome.result["provenance"]["engine"]
    assert (engine["executor"], engine["workers"]) == ("dask local cluster", workers)
    assert engine["regions"] >= 6
    assert_same(oracle, outcome)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler and a worker on the loopback interface; yield address and scheduler, and end both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": folder}
    dask = [sys.executable, "-m"]
    plain = ["--no-dashboard"]
    scheduler = [*dask, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), *plain]
    worker = [*dask, "distributed.cli.dask_worker", address, "--nworkers", "1", "--nthreads", "2", *plain]
    processes = [subprocess.Popen(command, **quiet) for command in (scheduler, worker)]
    try:
        yield address, processes[0]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)


def test_a_running_scheduler_is_joined_and_equals_serial(
    oracle: Any, samples: Path, score: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as (address, _):
        words = (*SMALL_REGIONS, "--scheduler", address)
        outcome = score(samples / "phantom_heterogeneous.svs", tmp_path / "joined", *words, serial=False)
        assert outcome.code == 0, outcome.stderr
        engine = outcome.result["provenance"]["engine"]
        assert engine["executor"] == "dask scheduler"
        again = score(samples / "phantom_null.svs", tmp_path / "again", "--scheduler", address, serial=False)
        assert again.code == 0, "the scheduler lives on and serves the next run"
    assert_same(oracle, outcome)


@pytest.mark.parametrize("blow", ["the scheduler dies", "Ctrl-C"])
def test_a_run_on_a_cluster_of_others_ends_cleanly(
    blow: str, samples: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "cluster").mkdir()
    out = tmp_path / "results" / "out"
    with cluster(tmp_path / "cluster") as (address, scheduler):
        run = start("run", samples / "phantom_3plus.svs", "-o", out, *SMALL_REGIONS, "--scheduler", address)
        try:
            wait_for_parts(out.parent, run, least=3)
            if blow == "Ctrl-C":
                run.send_signal(signal.SIGINT)
            else:
                scheduler.kill()
            _, words = run.communicate(timeout=60)
        finally:
            run.kill()
        assert run.returncode == (130 if blow == "Ctrl-C" else 10), words
        assert own_words(words).count("\n") == 1
        assert blow == "Ctrl-C" or address in words
        time.sleep(1)  # nobody writes on behind our back
        assert not out.parent.exists()


@pytest.mark.parametrize("listening", [False, True])
def test_a_scheduler_that_does_not_answer(
    listening: bool, samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listening:
            mute.listen()
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        outcome = score(samples / "phantom_null.svs", tmp_path / "out", "--scheduler", address, serial=False)
        seconds = time.monotonic() - start
    assert outcome.code == 10
    assert own_words(outcome.stderr).count("\n") == 1
    assert address in outcome.stderr
    assert seconds < 20, "ten seconds of patience, and the start of a program on a busy machine"
    assert list(tmp_path.iterdir()) == []


def wait_for_parts(folder: Path, run: subprocess.Popen[str], least: int = 1) -> None:
    """Wait until the run has measured `least` regions."""
    until = time.monotonic() + 60
    while len(list(folder.glob(".run-*.partial-*/.parts/cells-??????.npy"))) < least:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_killed_in_the_middle_changes_nothing(
    workers: int,
    oracle: Any,
    samples: Path,
    start: Callable[..., Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "killed"
    words = (*SMALL_REGIONS, "--set", f"engine.workers={workers}", "--set", "engine.tasks_ahead=4")
    run = start("run", samples / "phantom_heterogeneous.svs", "-o", out, *words)
    try:
        wait_for_parts(tmp_path, run, least=3)
        all_workers = workers_of(run.pid)
        assert len(all_workers) == workers
        for worker in all_workers:  # stopped first, so that the run cannot end before the blow
            worker.send_signal(signal.SIGSTOP)
        measured = len(list(tmp_path.glob(".run-*.partial-*/.parts/cells-??????.npy")))
        victim, *others = all_workers
        victim.send_signal(signal.SIGKILL)
        for worker in others:
            worker.send_signal(signal.SIGCONT)
        _, words_said = run.communicate(timeout=90)
    finally:
        run.kill()
    outcome = type(oracle)(run.returncode, "", words_said, out)
    assert outcome.code == 0, words_said
    assert 3 <= measured < outcome.result["provenance"]["engine"]["regions"], "the worker died in the middle"
    assert not victim.is_running()
    assert "Traceback" not in words_said
    assert_same(oracle, outcome)


def test_regions_of_any_size_find_the_same_cells(oracle: Any, sample_run: Callable[[str], Any]) -> None:
    small, large = oracle.table("cells.parquet"), sample_run("heterogeneous").table("cells.parquet")
    assert len(small["x_l0"]) == len(large["x_l0"]), "no cell is cut or counted twice at a seam"
    places = [sorted(zip(t["x_l0"], t["y_l0"], t["class"], strict=True)) for t in (small, large)]
    assert places[0] == places[1]
