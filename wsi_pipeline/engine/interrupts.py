"""Ctrl-C and worker processes: only the process that people started answers it, and at a moment when it can."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

IMPORT_MACHINERY = "<frozen importlib"
"""How the file names of Python's own import code begin, in the frames of a running import."""

PAUSE_S = 0.02
"""Seconds until a Ctrl-C that came at a bad moment comes again; nobody notices so few."""


@contextmanager
def interrupts_heeded() -> Iterator[None]:
    """Let no Ctrl-C be lost in the body, nor break an import; for the main thread.

    Python raises KeyboardInterrupt wherever the main thread happens to be. In a destructor or a callback of a weak
    reference the exception is printed and dropped, and the run goes on to its end; the import machinery has such a
    callback, and may then keep its lock for good, for which other threads wait. Here one that comes amid an import
    comes again a moment later, and so does one that was dropped. Where Ctrl-C is ignored, as under nohup, it still is.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    shown = sys.unraisablehook

    def dropped(what: sys.UnraisableHookArgs) -> None:
        if what.exc_type is KeyboardInterrupt:
            _come_again()
        else:
            shown(what)

    sys.unraisablehook = dropped
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = shown


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or have the signal come again when `frame` is part of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_MACHINERY):
            _come_again()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


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
    if held:
        raise KeyboardInterrupt


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
