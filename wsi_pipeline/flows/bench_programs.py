"""Other programs of a benchmark: run to their end and timed, or ended with everything that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

PATIENCE_S, PAUSE_S = 5.0, 0.02
"""How long, and how often, killed processes are waited for, s."""

HAS_GROUPS = hasattr(os, "killpg")
"""Whether a program and all that it starts can be ended at once; Windows has no process groups."""


class Ended(NamedTuple):
    """How a program ended: exit code, what it said on stderr, and how long it took, s."""

    code: int
    stderr: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The last line that it said."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


def run_program(command: Sequence[str], environ: Mapping[str, str], timeout_s: float | None = None) -> Ended:
    """Run a program. On Ctrl-C, which it does not see itself, it is ended with everything that it started.

    Raises OSError where it cannot be started, subprocess.TimeoutExpired.
    """
    start = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace", env=dict(environ), start_new_session=True,
    ) as program:  # fmt: skip
        try:
            _, stderr = program.communicate(timeout=timeout_s)
        finally:
            if program.poll() is None:
                _end(program)
    return Ended(program.returncode, stderr, time.perf_counter() - start)


def _end(program: subprocess.Popen[str]) -> None:
    """Kill a program and its group, and wait until none of them can write any more."""
    if not HAS_GROUPS:
        program.kill()
        return
    until = time.monotonic() + PATIENCE_S
    with suppress(ProcessLookupError):  # which says that nobody is left
        while time.monotonic() < until:
            os.killpg(program.pid, signal.SIGKILL)
            program.poll()
            time.sleep(PAUSE_S)
