"""Ctrl-C: exit code 130, one line, nothing left on disk, nobody left running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.said import own_words

pytestmark = pytest.mark.slow

SMALL_REGIONS = ("--set", "tiling.region_tiles=1")
PATIENCE_S = 180
"""Seconds for what takes ten on a machine that has nothing else to do."""

TO_ALL, TO_ONE = "as a terminal sends it, to the whole group", "to the command only"


def assert_interrupted(run: subprocess.Popen[str], how: str, folder: Path) -> None:
    """Send Ctrl-C, and check that all of it ends well."""
    family = psutil.Process(run.pid).children(recursive=True)
    if how == TO_ALL:
        os.killpg(run.pid, signal.SIGINT)
    else:
        run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=40)
    assert (run.returncode, stdout) == (130, ""), stderr
    assert own_words(stderr) == "wsi-her2: interrupted; nothing was kept\n"
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert list(folder.iterdir()) == []


def wait_until(condition: Callable[[], Any], run: subprocess.Popen[str]) -> None:
    """Wait until `condition` holds while the run goes on."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.parametrize("how", [TO_ALL, TO_ONE])
@pytest.mark.parametrize("engine", ["serial", "dask"])
def test_in_the_middle_of_the_regions(
    how: str, engine: str, samples: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    words = (*SMALL_REGIONS, "--set", f"engine.executor={engine}", "--set", "engine.workers=2")
    run = start("run", samples / "phantom_3plus.svs", "-o", tmp_path / "deep" / "results", *words)
    wait_until(lambda: list(tmp_path.glob("deep/.*/.parts/cells-??????.npy")), run)
    assert_interrupted(run, how, tmp_path)


@pytest.mark.parametrize("how", [TO_ALL, TO_ONE])
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.6])
def test_while_the_workers_start(
    how: str, seconds: float, samples: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    run = start("run", samples / "phantom_3plus.svs", "-o", tmp_path / "results", "--set", "engine.workers=2")
    wait_until(lambda: psutil.Process(run.pid).children(), run)
    time.sleep(seconds)
    assert_interrupted(run, how, tmp_path)


def test_twice_in_a_row(samples: Path, start: Callable[..., Any], tmp_path: Path) -> None:
    words = (*SMALL_REGIONS, "--set", "engine.workers=2")
    run = start("run", samples / "phantom_3plus.svs", "-o", tmp_path / "results", *words)
    wait_until(lambda: list(tmp_path.glob(".*/.parts/cells-??????.npy")), run)
    os.killpg(run.pid, signal.SIGINT)
    time.sleep(0.1)
    assert_interrupted(run, TO_ALL, tmp_path)
