"""Ctrl-C and worker processes: only the process that people started answers it, and at a moment when it can."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")

IMPORT_MACHINERY = "<frozen importlib"
"""How the file names of Python's own import code begin, in the frames of a running import."""

PAUSE_S = 0.02
"""Seconds until a Ctrl-C that came at a bad moment comes again; nobody notices so few."""


TIDYING_S = 10.0
"""Seconds that an interrupted run has to tidy up before a further Ctrl-C interrupts that too; it takes under one."""


def interruptible(body: Callable[[], T]) -> T:
    """Return what `body` returns and let no Ctrl-C be lost in it, nor break an import, nor disturb what follows.

    For the main thread, around all that a process does. Python raises KeyboardInterrupt wherever the main thread
    happens to be. In a destructor or a callback of a weak reference the exception is printed and dropped, and the run
    goes on to its end; the import machinery has such a callback, and may then keep its lock for good, for which other
    threads wait. Here one that comes amid an import comes again a moment later, and so does one that was dropped.

    Who presses twice means the same as who presses once: for `TIDYING_S` after KeyboardInterrupt was raised the body
    can tidy up undisturbed. It is raised inside `body` only, and afterwards Ctrl-C is ignored for good: how the process
    ends is decided then, and Ctrl-C would kill it amid Python's own tidying up, with another exit code than announced.
    Where Ctrl-C is ignored from the start, as under nohup, it still is.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return body()
    presses, shown = _Presses(sys.unraisablehook), sys.unraisablehook
    sys.unraisablehook = presses.dropped
    signal.signal(signal.SIGINT, presses.heed)
    try:
        return _call(body)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.unraisablehook = shown


def _call(body: Callable[[], T]) -> T:
    """Call `body` in a frame that `_Presses` knows."""
    return body()


class _Presses:
    """What comes of Ctrl-C, by the moment at which it comes; `shown` gets the dropped exceptions of other kinds."""

    def __init__(self, shown: Callable[[sys.UnraisableHookArgs], Any]) -> None:
        self._shown = shown
        self._tidy_until = 0.0

    def heed(self, _number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, or have it come again when `frame` is part of an import or not of the body."""
        if time.monotonic() < self._tidy_until:
            return
        while frame is not None and not frame.f_code.co_filename.startswith(IMPORT_MACHINERY):
            if frame.f_code is _call.__code__:
                self._tidy_until = time.monotonic() + TIDYING_S
                raise KeyboardInterrupt
            frame = frame.f_back
        _come_again()

    def dropped(self, what: sys.UnraisableHookArgs) -> None:
        """Have a KeyboardInterrupt that Python dropped come again."""
        if what.exc_type is KeyboardInterrupt:
            self._tidy_until = 0.0
            _come_again()
        else:
            self._shown(what)


def _come_again() -> None:
    """Send this process Ctrl-C after a pause, from a thread whose start takes no lock that may be taken now."""
    _thread.start_new_thread(_send, ())


def _send() -> None:
    time.sleep(PAUSE_S)
    if sys.platform == "win32":  # where the other way ends the process
        _thread.interrupt_main()
    else:  # wakes a main thread that waits, which the other way does not
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the body is done, and keep it from threads and processes that are started inside for good.

    A terminal sends Ctrl-C to all processes of a command. Workers that died of it would be restarted while the run
    tries to end, and would print their tracebacks; a cluster that is interrupted half started leaves workers behind.
    Outside the main thread it is only kept from what is started inside, since Python delivers Ctrl-C to the main thread
    only.
    """
    if hasattr(signal, "pthread_sigmask"):
        # Python unblocks the signal when it starts this helper of its own, so that has to happen before.
        resource_tracker.ensure_running()
    if threading.current_thread() is not threading.main_thread():
        with _masked():
            yield
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    before = signal.signal(signal.SIGINT, hold)
    try:
        with _masked():
            yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(held[0], sys._getframe())


@contextmanager
def _masked() -> Iterator[None]:
    """Keep Ctrl-C from this thread: children inherit the mask, also those started later by threads of the body."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a Ctrl-C that waited is delivered here
