"""Worker processes as copies of one that has imported everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

import psutil
import pytest

from wsi_pipeline.engine import fork_server
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.fork_server import WORKER_VARIABLES, start_fork_server, start_method
from wsi_pipeline.engine.interface import EngineOptions

pytestmark = pytest.mark.skipif(start_method() != "forkserver", reason="workers are not copied on this system")

LEADER = """
import os, sys, psutil
from wsi_pipeline.engine.fork_server import start_fork_server
before = dict(os.environ)
start_fork_server(["colorsys", "no_such_module"])
start_fork_server(["colorsys"])
assert os.environ == before
servers = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
print(*(child.pid for child in servers), flush=True)
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import EngineOptions
executor = make_executor(EngineOptions(workers=1), None)
def seen(name):
    import os, signal, sys
    return name in sys.modules, os.getppid(), signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
if __name__ == "__main__":
    print(*next(executor.run(seen, ["colorsys"])), flush=True)
    print("threads", servers[0].num_threads(), flush=True)
    input()
    executor.close()
"""


@pytest.fixture
def leader() -> Any:
    """Start a process that has a fork server for a module that nobody else imports, and a worker."""
    process = subprocess.Popen([sys.executable, "-c", LEADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_worker_is_a_copy_with_the_imports_and_without_ctrl_c(leader: subprocess.Popen[str]) -> None:
    assert leader.stdout is not None
    server = int(leader.stdout.readline())  # one, though it was asked for twice
    assert leader.stdout.readline().split() == ["True", str(server), "True"]
    assert leader.stdout.readline().split() == ["threads", "1"], "a process with threads must not be copied"


@pytest.mark.slow
def test_nothing_is_left_when_the_process_is_killed(leader: subprocess.Popen[str]) -> None:
    assert leader.stdout is not None
    [leader.stdout.readline() for _ in range(3)]
    left = psutil.Process(leader.pid).children(recursive=True)
    assert len(left) >= 3, "the server, its worker, and what cleans up after them"
    leader.kill()
    assert psutil.wait_procs(left, timeout=10)[1] == []


def environment(name: str) -> str | None:
    """Return a variable of the process that this runs in."""
    return os.environ.get(name)


@pytest.mark.slow
def test_workers_have_the_environment_of_this_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: environment(name) or value for name, value in WORKER_VARIABLES.items()}
    start_fork_server()
    monkeypatch.setenv("WSI_HER2_TOLD_LATER", "hears it")
    executor = make_executor(EngineOptions(workers=1), None)
    try:
        names = ("WSI_HER2_TOLD_LATER", *WORKER_VARIABLES)
        found = {name: next(executor.run(environment, [name])) for name in names}
    finally:
        executor.close()
    assert found == {"WSI_HER2_TOLD_LATER": "hears it", **expected}


@pytest.mark.slow
def test_a_killed_server_is_started_anew_and_killed_workers_come_back() -> None:
    executor = make_executor(EngineOptions(workers=1), None)
    try:
        first = next(executor.run(identity, [0]))
        os.kill(first[1], signal.SIGKILL)
        with suppress(ProcessLookupError):  # a worker ends with its server
            os.kill(first[0], signal.SIGKILL)
        second = next(executor.run(identity, [0]))
    finally:
        executor.close()
    assert len({*first, *second}) == 4


def identity(_: int) -> tuple[int, int]:
    """Return the numbers of the process that this runs in and of its parent."""
    return os.getpid(), os.getppid()


def test_where_processes_cannot_be_copied_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert start_method() == "spawn"
    monkeypatch.setattr(fork_server.forkserver, "ensure_running", lambda: pytest.fail("started"))
    start_fork_server()
