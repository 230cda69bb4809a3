"""A deadline for opening: nobody waits for ever on a file that a library turns in circles on, or a disk that hangs."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from wsi_pipeline.errors import CorruptSlideError, ResourceError

OPEN_SECONDS = 60.0
"""Seconds that opening a slide may take; it takes a tenth of one, on a network disk some."""

Opened = TypeVar("Opened")


class _AbandonedError(BaseException):
    """Ends a Python loop that nobody waits for any more; no library catches it by mistake."""


def within(seconds: float, path: Path, work: Callable[[], Opened]) -> Opened:
    """Return what `work` returns, done by a thread of its own, and raise what it raises.

    A call that hangs inside the system or a library cannot be ended from outside; its thread is left behind, which
    keeps no process from ending. Raises CorruptSlideError after `seconds`, ResourceError where no thread can be had.
    """
    results: list[Opened] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except _AbandonedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run, name="open", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ResourceError("memory", f"has no room for a thread that opens {path}", "use fewer workers") from error
    try:
        in_time = done.wait(seconds)
    finally:
        if not done.is_set():
            _abandon(thread)
    if not in_time:
        problem = f"could not be opened within {seconds:g} seconds"
        remedy = "copy it again, or give a slow disk more time: --set engine.open_seconds=600"
        raise CorruptSlideError(path, problem, remedy)
    if errors:
        raise errors.pop()
    return results.pop()


def _abandon(thread: threading.Thread) -> None:
    """Have a thread end at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_AbandonedError))
