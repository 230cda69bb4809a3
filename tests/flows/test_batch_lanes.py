"""Slides of a batch overlap, on one executor that is lent to one at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from wsi_pipeline.config import load_settings
from wsi_pipeline.errors import StoppedError
from wsi_pipeline.flows.batch import run_batch
from wsi_pipeline.flows.batch_plan import plan_batch
from wsi_pipeline.flows.batch_request import BatchRequest
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.memory_estimate import example_need
from wsi_pipeline.flows.pool import SharedPool
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide

SETTINGS = load_settings(None, {"engine.executor": "serial", "models.classifier": "none", "tiling.region_tiles": 2})

NEED = example_need(SETTINGS)


class Diary:
    """Writes down what it hears, and says if it ever hears two threads at once."""

    def __init__(self) -> None:
        """Hear nothing yet."""
        self.heard: list[tuple[str, str]] = []
        self.at_once = False
        self._busy = threading.Lock()

    def _note(self, slide: str, what: str) -> None:
        if not self._busy.acquire(blocking=False):
            self.at_once = True
            return
        self.heard.append((slide, what))
        self._busy.release()

    def begin(self, slide: str) -> None:
        self._note(slide, "begin")

    def progress(self, slide: str, stage: str, done: int, total: int) -> None:  # noqa: ARG002
        self._note(slide, stage)

    def say(self, line: str) -> None:
        self._note("", line)

    def end(self, row: SlideRow, *, fresh: bool) -> None:  # noqa: ARG002
        self._note(row.slide, "end")


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for seed in range(4):
        options = PhantomOptions(name=f"p{seed}", seed=seed, width=1387, height=1009, mpp_y=0.26, mix={"2": 1.0})
        write_slide(make_phantom(options), folder / f"p{seed}.svs")
    return folder


def request_for(slides: Path, out: Path) -> BatchRequest:
    return BatchRequest(plan_batch([str(slides)], out, None), out, ScoreRequest(Path(), out, SETTINGS))


def test_the_next_slide_begins_before_the_last_one_ends(slides: Path, tmp_path: Path) -> None:
    diary = Diary()
    rows = run_batch(request_for(slides, tmp_path / "out"), diary)
    assert all(row.is_good for row in rows)
    assert not diary.at_once
    begins = [place for place, (_, what) in enumerate(diary.heard) if what == "begin"]
    ends = [place for place, (_, what) in enumerate(diary.heard) if what == "end"]
    assert all(begin < end for begin, end in zip(begins[1:], ends, strict=False))
    measuring = [slide for slide, what in diary.heard if what == "measuring"]
    turns = [slide for place, slide in enumerate(measuring) if place == 0 or measuring[place - 1] != slide]
    assert len(turns) == 4, "the workers have the regions of one slide after those of another"


def test_whoever_waits_for_the_workers_hears_that_the_batch_was_stopped() -> None:
    pool = SharedPool(SETTINGS, None, ())
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            with pool.lend((), NEED):
                pytest.fail("lent twice")
        except StoppedError as error:
            ended.append(error)

    with pool.lend((), NEED) as executor:
        waiting = threading.Thread(target=wait)
        waiting.start()
        pool.stop()
        with pytest.raises(StoppedError):
            list(executor.run(abs, [-1]))
    waiting.join(10)
    assert len(ended) == 1


def test_an_error_of_the_batch_itself_ends_all_slides(slides: Path, tmp_path: Path) -> None:
    class Full(Diary):
        """A view that breaks in the middle of the second slide."""

        def progress(self, slide: str, stage: str, done: int, total: int) -> None:
            super().progress(slide, stage, done, total)
            if slide == "p1.svs" and stage == "measuring":
                raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_batch(request_for(slides, out), Full())
    assert "waiting" in (out / "summary.csv").read_text(encoding="utf-8")
    rows = run_batch(request_for(slides, out), Diary())
    assert all(row.is_good for row in rows)
