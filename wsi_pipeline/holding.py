"""Settings of other libraries that hold for a whole process: changed while somebody here needs it, and put back.

Whoever uses this package in a process of his own finds his loggers and thread counts as he left them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock
from typing import Any

NOISY_LOGGERS = (
    "distributed", "distributed.client", "distributed.nanny", "distributed.worker", "tornado.application", "asyncio",
)  # fmt: skip
"""What speaks of lost workers and closed connections; our own errors tell of them, and the progress bar is watched."""


class Holding:
    """A context that the first of its users enters and the last one leaves, whichever threads they are in."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        """Hold what `make` returns, a new one each time."""
        self._make = make
        self._lock = Lock()
        self._users = 0
        self._held = ExitStack()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold it while the body runs."""
        with self._lock:
            if self._users == 0:
                self._held.enter_context(self._make())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._held.close()


_own_process = False


def quiet_for_good() -> None:
    """Leave the loggers quiet once they are: for a process of our own, in which libraries speak even as it ends."""
    global _own_process  # noqa: PLW0603 - it is the process that it is about
    _own_process = True


@contextmanager
def _quietly() -> Iterator[None]:
    """Let the noisy loggers say critical things only."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in () if _own_process else zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Let OpenCV compute on one thread."""
    import cv2  # noqa: PLC0415 - heavy, and only workers need it

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _torch_threads() -> Callable[[int], None]:
    """Return torch's own way to set how many threads it computes on."""
    setter: Callable[[int], None] = sys.modules["torch"].set_num_threads
    return setter


@contextmanager
def _torch_count_kept() -> Iterator[None]:
    """Put torch's number of threads back."""
    before = sys.modules["torch"].get_num_threads()
    try:
        yield
    finally:
        _torch_threads()(before)


quiet_loggers = Holding(_quietly)
one_opencv_thread = Holding(_one_opencv_thread)
"""The workers are the parallelism."""
_torch_counts = Holding(_torch_count_kept)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Have torch, which is imported already, compute on one thread: sums in one order give the same pixels anywhere.

    torch counts for each thread by itself, so each that comes here is set.
    """
    with _torch_counts():
        own = sys.modules["torch"].get_num_threads()
        _torch_threads()(1)
        try:
            yield
        finally:
            _torch_threads()(own)
