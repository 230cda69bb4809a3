"""Ctrl-C and worker processes: only the process that people started answers it, and at a moment when it can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType


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
