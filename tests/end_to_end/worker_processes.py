"""The worker processes of a command that runs."""

from __future__ import annotations

import psutil

COPIED, STARTED = "multiprocessing.forkserver", "multiprocessing.spawn"


def workers_of(command: int) -> list[psutil.Process]:
    """Return the worker processes of the command with this number, without the one that they are copied from."""
    children = psutil.Process(command).children(recursive=True)
    words = {child.pid: " ".join(child.cmdline()) for child in children}
    return [
        child for child in children
        if STARTED in words[child.pid] or (COPIED in words[child.pid] and COPIED in words.get(child.ppid(), ""))
    ]  # fmt: skip
