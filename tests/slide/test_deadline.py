"""Opening ends in time, whatever hangs: our own loop, a library's, or a call inside the system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.errors import CorruptSlideError, UsageError
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.deadline import OPEN_SECONDS, within

FILE = Path("a.svs")


def loop() -> None:
    while True:
        sum(range(100))


def hang_in_the_system() -> None:
    read, _ = os.pipe()
    os.read(read, 1)


@pytest.mark.parametrize("work", [loop, hang_in_the_system, lambda: time.sleep(20)])
def test_nobody_waits_longer_than_the_deadline(work: Callable[[], None]) -> None:
    began = time.monotonic()
    with pytest.raises(CorruptSlideError, match=r"a\.svs: could not be opened within 0\.2 seconds"):
        within(0.2, FILE, work)
    assert time.monotonic() - began < 10


def test_a_loop_that_nobody_waits_for_ends() -> None:
    with pytest.raises(CorruptSlideError):
        within(0.2, FILE, loop)
    time.sleep(0.1)
    began = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - began < 0.2


def test_results_and_errors_come_through() -> None:
    assert within(9, FILE, lambda: 7) == 7

    def fail() -> None:
        raise UsageError("a", "b")

    with pytest.raises(UsageError, match="a: b"):
        within(9, FILE, fail)


def test_the_setting_says_what_opening_does() -> None:
    assert EngineOptions().open_seconds == OPEN_SECONDS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_a_slide_that_waits_for_ever_is_refused_in_time(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    os.mkfifo(path / ".zattrs")
    with pytest.raises(CorruptSlideError, match=r"within 0\.2 seconds"):
        open_slide(path, open_seconds=0.2)
