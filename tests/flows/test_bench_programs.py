"""Programs are timed, say their last words, and never outlive the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from wsi_pipeline.flows.bench_programs import run_program

PARENT = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(300)
"""


@pytest.fixture
def _interrupted_soon(tmp_path: Path) -> Iterator[None]:
    """Interrupt this process, as Ctrl-C does, once the program's own child is known."""

    def look(_number: int, _frame: object) -> None:
        if (tmp_path / "child").exists() and (tmp_path / "child").read_text():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_how_a_program_ended_is_known() -> None:
    ended = run_program([sys.executable, "-c", "import sys; sys.exit('first\\n last word \\n\\n')"], os.environ)
    assert (ended.code, ended.last_words) == (1, "last word")
    assert run_program([sys.executable, "-c", "print('on stdout')"], os.environ).last_words == "it said nothing"


def test_what_is_not_there_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        run_program([str(tmp_path / "python")], os.environ)


def test_nobody_waits_for_ever() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_program([sys.executable, "-c", "import time; time.sleep(300)"], os.environ, 0.1)


@pytest.mark.usefixtures("_interrupted_soon")
def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, "-c", PARENT, str(tmp_path / "child")], os.environ)
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 5
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _alive(child)


def _alive(number: int) -> bool:
    """Return whether a process runs."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
