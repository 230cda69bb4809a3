"""Trainings that are killed while they run."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path


def kill_after(rows: int, folder: Path, arguments: list[str], environment: dict[str, str]) -> int:
    """Start a training, send SIGKILL once `steps.csv` in `folder` holds `rows` steps, and return how many it holds."""
    steps = folder / "steps.csv"
    with subprocess.Popen(arguments, env=environment) as running:
        deadline = time.monotonic() + 60
        while not (steps.exists() and steps.read_text(encoding="utf-8").count("\n") > rows):
            assert running.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "it made no progress"
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
    return steps.read_text(encoding="utf-8").count("\n") - 1
