"""What is imported ahead: what the run will need, and no more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsi_pipeline.engine.fork_server import start_method

PROGRAM = """
import sys, threading, psutil
from wsi_pipeline.config import Settings
from wsi_pipeline.flows.ahead import work_ahead
before = {name: name in sys.modules for name in ("distributed", "pyarrow")}
work_ahead(Settings(engine={"executor": sys.argv[1]}), sys.argv[2] or None)
[thread.join() for thread in threading.enumerate() if thread.name == "imports"]
servers = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
print(any(before.values()), "distributed" in sys.modules, "pyarrow" in sys.modules, len(servers))
"""
SERVERS = int(start_method() == "forkserver")


@pytest.mark.parametrize(
    ("executor", "scheduler", "dask", "servers"),
    [("serial", "", False, 0), ("dask", "", True, SERVERS), ("dask", "tcp://127.0.0.1:9", True, 0)],
)
def test_only_what_the_run_needs(executor: str, scheduler: str, dask: bool, servers: int) -> None:
    words = [sys.executable, "-c", PROGRAM, executor, scheduler]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", str(dask), "True", str(servers)]
