"""Slides opened on trial by a process of their own: one that crashes or hangs a library takes nothing else along."""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock

from wsi_pipeline.engine.fork_server import start_fork_server, start_method
from wsi_pipeline.engine.interrupts import interrupts_held
from wsi_pipeline.errors import CorruptSlideError, WsiHer2Error
from wsi_pipeline.slide import SlideSpec

LATE_SECONDS = 10.0
"""How long the process may take beyond a slide's own deadline, s: to start, and to say that the deadline was missed."""

REMEDY = "copy it again, or convert it to a tiled pyramidal TIFF"


class Trial:
    """Opens one slide at a time, for any thread that asks."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._turn = Lock()

    def open(self, spec: SlideSpec) -> None:
        """Return when the slide was opened and closed, or when opening it fails in a way that is met again.

        Raises:
            CorruptSlideError: the process crashed, or hung past its own deadline.
            WsiHer2Error: what opening the slide raises.
        """
        with self._turn:
            ends = [self._ask(spec)]
            if ends[-1]:  # somebody may have killed it
                ends.append(self._ask(spec))
        if all(ends):
            raise CorruptSlideError(spec.path, f"ended the process that opened it ({ends[-1]})", REMEDY)

    def _ask(self, spec: SlideSpec) -> str:
        """Return what the process died of, or nothing where it lives. Raises what `open` does of a living one."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(spec)
            is_late = not pipe.poll(spec.open_seconds + LATE_SECONDS)
            answer: WsiHer2Error | None = None if is_late else pipe.recv()
        except (EOFError, OSError):
            return self._end()
        if is_late:
            self._end()
            raise CorruptSlideError(spec.path, "hung the library that opens it", REMEDY)
        if answer is not None:
            raise answer
        return ""

    def _start(self) -> Connection:
        """Start the process, and return this end of its pipe."""
        start_fork_server()
        self._pipe, theirs = multiprocessing.Pipe()
        start = get_context("forkserver") if start_method() == "forkserver" else get_context("spawn")
        self._process = start.Process(target=open_on_trial, args=(theirs,), name="trial", daemon=True)
        with interrupts_held():
            self._process.start()
        theirs.close()
        return self._pipe

    def _end(self) -> str:
        """Have no process any more, and return in a word what the one that there was died of."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is None or pipe is None:
            return "it did not start"
        pipe.close()
        process.join(1.0)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode or 0
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()


def open_on_trial(pipe: Connection) -> None:
    """Open and close the slides that are named through the pipe until it ends; answer with what went wrong, or None.

    An error that is none of ours is met again by whoever opens the slide, with a traceback that helps.
    """
    with suppress(EOFError, OSError):
        while True:
            spec: SlideSpec = pipe.recv()
            answer: WsiHer2Error | None = None
            try:
                spec.open().close()
            except WsiHer2Error as error:
                answer = error
            except Exception:  # noqa: BLE001
                answer = None
            pipe.send(answer)
