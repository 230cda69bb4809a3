"""Ctrl-C: held back where it would do harm, and never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wsi_pipeline.engine.interrupts import interruptible, interrupts_held


def test_ctrl_c_waits_for_the_end_of_the_body() -> None:
    reached = []

    def body() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            reached.append(1)

    with pytest.raises(KeyboardInterrupt):
        body()
    assert reached == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_processes_started_while_ctrl_c_is_held_never_see_it() -> None:
    program = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(30)"]
    with interrupts_held():
        child = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.terminate()
        child.wait(10)


def test_outside_the_main_thread_nothing_is_held() -> None:
    seen = []

    def work() -> None:
        with interrupts_held():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


PROGRAM = """
import os, signal, sys, threading, time, weakref
from wsi_pipeline.engine import interrupts
def press(*_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    print("pressed", flush=True)
class Thing:
    def __init__(self, at_end=None):
        self.at_end = at_end
    def __del__(self):
        if self.at_end:
            self.at_end()
def forget(thing, callback=None):
    return weakref.ref(thing, callback)
def body():
    {moment}
    print("gone on", flush=True)
    threading.Event().wait(60)
    print("lost", flush=True)
try:
    interrupts.interruptible(body)
except KeyboardInterrupt:
    print("interrupted", flush=True)
{after}
"""
"""What presses Ctrl-C at a moment. It waits for a lock, as a run does, which only a real signal ends."""


def spoken(moment: str, folder: Path, after: str = "") -> tuple[list[str], str]:
    """Run the program in `folder` with `moment`; return its lines, and what it wrote on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(moment=moment, after=after)], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, timeout=30, check=True,
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr


def test_it_comes_at_once_where_it_does_no_harm(tmp_path: Path) -> None:
    assert spoken("press()", tmp_path) == (["interrupted"], "")


@pytest.mark.parametrize("moment", ["Thing(press)", "kept = forget(Thing(), press)"])
def test_one_that_python_drops_comes_again(moment: str, tmp_path: Path) -> None:
    assert spoken(moment, tmp_path) == (["gone on", "interrupted"], "")


def test_one_amid_an_import_comes_when_the_import_is_done(tmp_path: Path) -> None:
    (tmp_path / "needed.py").write_text("import __main__; __main__.press()", encoding="utf-8")
    assert spoken("import needed", tmp_path) == (["pressed", "gone on", "interrupted"], "")


def test_one_in_a_callback_of_the_import_machinery_leaves_its_lock_open(tmp_path: Path) -> None:
    """Python's own callback could keep it: no other thread would ever import again, nor the process end."""
    callback = "import _imp; _imp.acquire_lock(); press(); _imp.release_lock()"
    (tmp_path / "callback.txt").write_text(callback, encoding="utf-8")
    code = "compile(open('callback.txt').read(), '<frozen importlib._bootstrap>', 'exec')"
    moment = f"code = {code}; kept = forget(Thing(), lambda _: exec(code))"
    after = "threading.Thread(target=lambda: print(__import__('colorsys').__name__, flush=True)).start()"
    assert spoken(moment, tmp_path, after) == (["pressed", "gone on", "interrupted", "colorsys"], "")


def test_what_else_is_dropped_is_shown_as_ever(tmp_path: Path) -> None:
    _, stderr = spoken("kept = forget(Thing(), lambda _: 1 / 0); press()", tmp_path)
    assert "ZeroDivisionError" in stderr


TIDYING = """
    try:
        press()
    finally:
        {pause}
        press()
        with interrupts.interrupts_held():
            press()
        print("tidied", flush=True)
"""


def test_a_second_press_leaves_the_tidying_alone(tmp_path: Path) -> None:
    lines = ["pressed", "pressed", "tidied", "interrupted"]
    assert spoken(TIDYING.format(pause=""), tmp_path) == (lines, "")


def test_tidying_that_takes_too_long_can_be_interrupted(tmp_path: Path) -> None:
    assert spoken(TIDYING.format(pause="interrupts.time.monotonic = lambda: 1e9"), tmp_path) == (["interrupted"], "")


def test_a_second_press_changes_nothing_of_the_end(tmp_path: Path) -> None:
    """Python takes its handler away before all is tidied up, and a press would kill the process then."""
    after = "end = Thing(lambda kill=os.kill, me=os.getpid(), say=os.write: (kill(me, 2), say(1, b'at the end')))"
    assert spoken("press()", tmp_path, f"press(); {after}") == (["interrupted", "pressed", "at the end"], "")


def test_where_ctrl_c_is_ignored_it_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interruptible(lambda: os.kill(os.getpid(), signal.SIGINT))
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_what_the_body_returns_and_raises_comes_through() -> None:
    before = sys.unraisablehook
    try:
        assert interruptible(lambda: 3) == 3
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(SystemExit):
            interruptible(sys.exit)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert sys.unraisablehook is before
