"""Claims: one holder at a time, the dead lose theirs, the living keep them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsi_pipeline.export import claims as module
from wsi_pipeline.export.claims import Claims

REPOSITORY = Path(__file__).resolve().parents[2]

HOLD = """
import sys, time
from pathlib import Path
from wsi_pipeline.export.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take("slide"), flush=True)
time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that claims "slide" in `folder`."""
    program = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()
            process.wait()


def test_what_one_holds_nobody_else_gets(tmp_path: Path) -> None:
    one, other = Claims(tmp_path), Claims(tmp_path)
    assert one.take("a")
    assert not other.take("a")
    assert other.take("b")
    assert not one.take("b")
    assert (one.holds("a"), one.holds("b"), other.holds("b")) == (True, False, True)
    one.release("a")
    assert other.take("a")
    other.close()
    assert list(tmp_path.iterdir()) == []
    one.close()


def test_a_living_process_keeps_its_claim_and_a_killed_one_loses_it(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    with holder(tmp_path) as process:
        assert not mine.take("slide")
        found = mine.holder("slide")
        assert found is not None
        assert found.pid == process.pid
        assert str(process.pid) in found.words
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert mine.take("slide"), "taken over at once: nobody waits for a dead process"
    assert mine.holder("slide") is None
    mine.close()


def test_a_dead_process_whose_number_lives_on_loses_its_claim(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    old = claims._me._replace(started=claims._me.started - 100)
    (tmp_path / module._file_name("slide", old)).touch()
    assert claims.take("slide")
    claims.close()


def test_a_process_that_is_dead_and_not_yet_reaped_loses_its_claim(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        until = time.monotonic() + 10
        while not mine.take("slide"):
            assert time.monotonic() < until
            time.sleep(0.01)
    mine.close()


def test_another_machine_loses_its_claim_when_it_is_silent_for_long(tmp_path: Path) -> None:
    mine = Claims(tmp_path)
    elsewhere = mine._me._replace(machine="elsewhere+b00710ad+1", pid=1)
    claim = tmp_path / module._file_name("slide", elsewhere)
    claim.touch()
    assert not mine.take("slide")
    assert "process 1 on elsewhere" in str(mine.holder("slide") and mine.holder("slide").words)
    long_ago = time.time() - module.SILENT_S - 5
    os.utime(claim, (long_ago, long_ago))
    assert mine.take("slide")
    assert not claim.exists()
    mine.close()


def test_claims_give_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    claims = Claims(tmp_path)
    assert claims.take("slide")
    (claim,) = tmp_path.iterdir()
    os.utime(claim, (1_000, 1_000))
    until = time.monotonic() + 10
    while claim.stat().st_mtime < 2_000:
        assert time.monotonic() < until
        time.sleep(0.01)
    claim.unlink()
    assert not claims.holds("slide"), "somebody took it for dead"
    claims.close()


def test_of_many_at_one_moment_never_two_hold(tmp_path: Path) -> None:
    held, most, gate = [], [], threading.Lock()

    def work() -> None:
        claims = Claims(tmp_path)
        for _ in range(40):
            if claims.take("slide"):
                with gate:
                    held.append(1)
                    most.append(len(held))
                time.sleep(0.0005)
                with gate:
                    held.pop()
                claims.release("slide")
        claims.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}, "and somebody did hold it"
    assert list(tmp_path.iterdir()) == []
