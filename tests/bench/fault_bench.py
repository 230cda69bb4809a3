"""Commands run as processes under limits of time and memory, and what they took."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "sample_slides" / "phantom_3plus.svs"
SERIAL = ("--set", "engine.executor=serial", "--evidence", "cells", "--stain", "ihc", "--json")
ERROR_CODES = range(2, 14)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last(self) -> str:
        """The last thing it said."""
        lines = (self.stderr or self.stdout).strip().splitlines()
        return f"exit {self.code}: {lines[-1] if lines else ''}"

    @property
    def is_refused(self) -> bool:
        """Whether it ended in one sentence and an exit code of ours."""
        return self.code in ERROR_CODES and "Traceback" not in self.stderr and self.stderr.startswith("wsi-her2: ")


@dataclass
class Bench:
    """Runs commands under limits and keeps what the dearest of a row took."""

    folder: Path
    timeout: float
    memory: float
    seconds: float = 0.0
    bytes: float = 0.0
    start_seconds: float = field(default=0.0)

    def __post_init__(self) -> None:
        """Find the data, and what `info` takes on a sound slide."""
        self.faults = Path(os.environ.get("WSI_HER2_DATA", REPOSITORY.parent / "shared" / "data")) / "faults"
        self.run("info", SAMPLE)
        self.run("info", SAMPLE)
        self.start_seconds, self.seconds = self.seconds, 0.0

    def run(self, *words: str | Path | bytes, program: tuple[str, ...] = ("-m", "wsi_pipeline.cli.main")) -> Done:
        """Return how `wsi-her2 WORDS` ended; -9 is the code of one that was killed at the limit of time."""
        command = [sys.executable, *program, *(os.fsencode(word) for word in words)]
        texts = []
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, preexec_fn=self._limit)  # noqa: PLW1509
            process.returncode = self._wait(process.pid)
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "backslashreplace"))
        return Done(process.returncode, *texts)

    def _limit(self) -> None:
        """Limit the address space of the process that is about to begin."""
        resource.setrlimit(resource.RLIMIT_AS, (int(self.memory), int(self.memory)))

    def _wait(self, pid: int) -> int:
        """Wait for a process, note what it took, and return its code."""
        ends = time.monotonic() + self.timeout
        found, status, usage = os.wait4(pid, os.WNOHANG)
        while not found:
            if time.monotonic() > ends:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            found, status, usage = os.wait4(pid, os.WNOHANG)
        self.seconds = max(self.seconds, usage.ru_utime + usage.ru_stime - self.start_seconds)
        self.bytes = max(self.bytes, usage.ru_maxrss * 1024)
        return os.waitstatus_to_exitcode(status)

    def info(self, path: Path, *words: str) -> tuple[Done, dict[str, Any]]:
        """Return how `info --json` ended, and what it said, nothing where it failed."""
        done = self.run("info", path, "--json", *words)
        return done, json.loads(done.stdout) if done.code == 0 else {}

    def score(self, path: Path | bytes, *words: str | Path) -> tuple[Done, dict[str, Any]]:
        """Return how `run --json` ended, and the record, nothing where there is none."""
        out = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        done = self.run("run", path, "-o", out, *SERIAL, *words)
        return done, json.loads(done.stdout) if done.code in {0, 3} else {}

    @cached_property
    def sound(self) -> dict[str, Any]:
        """The record of the sample slide."""
        return self.score(SAMPLE)[1]
