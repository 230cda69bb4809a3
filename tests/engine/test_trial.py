"""What opening on trial survives: crashes and hangs of the process that opens."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wsi_pipeline.engine import trial as trial_module
from wsi_pipeline.engine.trial import Trial
from wsi_pipeline.errors import CorruptSlideError, UsageError
from wsi_pipeline.slide import SlideSpec

SAMPLE = Path(__file__).resolve().parents[2] / "sample_slides" / "phantom_1plus.svs"


@dataclass(frozen=True)
class Crashing(SlideSpec):
    """A slide on which a library divides by zero."""

    def open(self) -> Any:
        os.kill(os.getpid(), signal.SIGFPE)


@dataclass(frozen=True)
class Hanging(SlideSpec):
    """A slide on which a library hangs that not even the deadline ends."""

    def open(self) -> Any:
        time.sleep(600)


@dataclass(frozen=True)
class Baffling(SlideSpec):
    """A slide that makes for an error of no kind of ours."""

    def open(self) -> Any:
        raise ArithmeticError


@pytest.fixture
def trial() -> Iterator[Trial]:
    with closing(Trial()) as made:
        yield made


def test_a_sound_slide_passes_again_and_again(trial: Trial) -> None:
    trial.open(SlideSpec(SAMPLE))
    trial.open(SlideSpec(SAMPLE))


def test_an_error_is_told_as_it_is(trial: Trial, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.svs: no such file \(check the path\)"):
        trial.open(SlideSpec(tmp_path / "gone.svs"))


def test_an_error_of_another_kind_is_left_to_who_opens_the_slide(trial: Trial) -> None:
    trial.open(Baffling(SAMPLE))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_crash_is_told_and_the_next_slide_is_opened(trial: Trial) -> None:
    for _ in range(2):
        with pytest.raises(CorruptSlideError, match=r"ended the process that opened it \(SIGFPE\)"):
            trial.open(Crashing(SAMPLE))
    trial.open(SlideSpec(SAMPLE))


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_process_that_somebody_killed_is_started_anew(trial: Trial) -> None:
    trial.open(SlideSpec(SAMPLE))
    (process,) = (child for child in multiprocessing.active_children() if child.name == "trial")
    process.kill()
    trial.open(SlideSpec(SAMPLE))


def test_a_hang_is_told_and_the_next_slide_is_opened(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.open(SlideSpec(SAMPLE))  # it is there, so that its start takes nothing of the time
    monkeypatch.setattr(trial_module, "LATE_SECONDS", 0.2)
    with pytest.raises(CorruptSlideError, match="hung the library that opens it"):
        trial.open(Hanging(SAMPLE, open_seconds=0.1))
    monkeypatch.undo()
    trial.open(SlideSpec(SAMPLE))
