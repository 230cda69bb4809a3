"""What a batch shows while it runs: plain lines in a log, a live table on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from wsi_pipeline.cli.batch_view import LAST_ROWS, Lines, LiveTable
from wsi_pipeline.flows.batch_rows import SlideRow

SCORED = SlideRow(
    slide="a [b].svs", status="scored", score="2+", category="equivocal", borderline=True, seconds=12.34,
    virtual_stain=True,
)  # fmt: skip
BROKEN = SlideRow(slide="c.svs", status="corrupt", seconds=0.1, message="is empty")


def drawn(view: LiveTable) -> str:
    """Return the table as a terminal shows it."""
    screen = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    screen.print(view)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_lines_say_how_each_slide_ended_and_what_is_left() -> None:
    text = io.StringIO()
    view = Lines(3, Console(file=text, width=40))
    view.say("classifier: x")
    view.say("classifier: x")
    view.end(SCORED, fresh=False)
    view.end(SCORED, fresh=True)
    view.end(BROKEN, fresh=True)
    said = text.getvalue().splitlines()
    verdict = "scored 2+ (equivocal, borderline; research use only, inferred from H&E)"
    assert said[0] == "classifier: x", "once"
    assert said[1] == f"[1/3] a [b].svs: {verdict} (done before); 2 left"
    assert said[2] == f"[2/3] a [b].svs: {verdict} (12.3 s); 1 left, about a minute"
    assert said[3] == "[3/3] c.svs: corrupt: is empty (0.1 s)"


def test_the_time_left_is_that_of_the_slides_scored_here() -> None:
    view = Lines(100, Console(file=io.StringIO()))
    view._began -= 600
    view.end(SCORED, fresh=False)
    assert view.time_left() == "", "what was done before says nothing"
    view.end(SCORED, fresh=True)
    view.end(SCORED, fresh=True)
    assert view.time_left() == ", about 8 h 5 min"


def test_the_table_shows_the_last_slides_the_one_at_work_and_the_whole() -> None:
    view = LiveTable(40, Console(file=io.StringIO()))
    for number in range(LAST_ROWS + 3):
        view.end(SCORED.model_copy(update={"slide": f"slide {number:02}.svs"}), fresh=True)
    view.end(BROKEN, fresh=True)
    view.begin("at work.svs")
    view.progress("at work.svs", "measuring", 3, 17)
    shown = drawn(view)
    assert "slide 03.svs" not in shown
    assert "slide 04.svs" in shown
    assert "at work.svs: measuring 3/17" in shown
    assert "16 of 40 slides" in shown
    assert "(1 corrupt, 15 scored)" in shown


def test_a_long_name_does_not_break_the_table() -> None:
    view = LiveTable(1, Console(file=io.StringIO()))
    view.end(SCORED.model_copy(update={"slide": "x" * 300}), fresh=True)
    assert max(len(line) for line in drawn(view).splitlines()) <= 100
