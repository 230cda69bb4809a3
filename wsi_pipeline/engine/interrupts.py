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
    Outside the main thread nothing is held, since Python delivers Ctrl-C to the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    # Python unblocks the signal when it starts this helper of its own, so that has to happen before.
    resource_tracker.ensure_running()
    # The mask is what children inherit, also those started later by threads of the body; Windows has none.
    can_mask = hasattr(signal, "pthread_sigmask")
    before = signal.signal(signal.SIGINT, hold)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_mask else set()
    try:
        yield
    finally:
        if can_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a Ctrl-C that waited is delivered here
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt
