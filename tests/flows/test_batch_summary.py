"""The summary: every slide a row, in three forms that say the same, and cases shown without a rule."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from wsi_pipeline.errors import (
    ClusterError,
    CorruptSlideError,
    MissingMppError,
    ResourceError,
    UnsupportedSlideError,
    UsageError,
)
from wsi_pipeline.flows.batch_inputs import SlideInput
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_rows import SlideRow, failed_row, waiting_row
from wsi_pipeline.flows.batch_summary import case_rows, write_summary

SLIDE = BatchSlide("sub/a.svs", "sub/a", SlideInput(Path("/x/sub/a.svs"), Path("/x/sub/a.svs"), case="7"))


def row(slide: str, score: str, category: str, case: str = "") -> SlideRow:
    status = "not evaluable" if score == "not evaluable" else "scored"
    return SlideRow(
        slide=slide, status=status, score=score, category=category, borderline=False, case=case,
        result=f"{slide.removesuffix('.svs')}/result.json", seconds=1.5, message="a, b\nc", h_score=12.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            MissingMppError("/x/sub/a.svs", "has no pixel size", "say --mpp"),
            "needs mpp",
            "has no pixel size (say --mpp)",
        ),
        (CorruptSlideError(Path("/x/sub/a.svs"), "is empty"), "corrupt", "is empty"),
        (UnsupportedSlideError("/x/sub/a.svs", "is a\nPDF"), "unsupported", "is a PDF"),
        (UsageError("drawn.geojson", "no such file"), "failed", "drawn.geojson: no such file"),
        (ResourceError("disk", "is full"), "failed", "disk: is full"),
        (ClusterError("dask", "was lost", "start it"), "failed", "dask: was lost (start it)"),
        (MemoryError(), "failed", "memory is exhausted (use fewer workers: --set engine.workers=1)"),
        (ValueError("odd"), "failed", "unexpected ValueError: odd"),
    ],
)
def test_every_error_has_a_status_and_words(error: BaseException, status: str, message: str) -> None:
    found = failed_row(SLIDE, error, 1.239)
    assert (found.status, found.message, found.seconds, found.case) == (status, message, 1.24, "7")
    assert not found.is_good


def test_three_forms_say_the_same(tmp_path: Path) -> None:
    rows = [row("a & b.svs", "2+", "equivocal", "7"), failed_row(SLIDE, CorruptSlideError("z", "bad"), 0.1)]
    rows.append(waiting_row(BatchSlide("c.svs", "c", SlideInput(Path("c"), Path("c")))))
    (tmp_path / "a & b").mkdir()
    (tmp_path / "a & b" / "overlay.png").touch()
    write_summary(tmp_path, rows)
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:8] == [
        "slide", "status", "score", "category", "borderline", "result", "seconds", "message"
    ]  # fmt: skip
    assert [(line["slide"], line["status"], line["score"], line["borderline"]) for line in table] == [
        ("a & b.svs", "scored", "2+", "no"), ("sub/a.svs", "corrupt", "", ""), ("c.svs", "waiting", "", ""),
    ]  # fmt: skip
    parquet = pq.read_table(tmp_path / "summary.parquet")
    assert parquet["slide"].to_pylist() == [line["slide"] for line in table]
    assert parquet["h_score"].to_pylist() == [12.0, None, None]
    page = (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert '<a href="a%20%26%20b/">a &amp; b.svs</a>' in page
    assert 'src="a%20%26%20b/overlay.png"' in page
    assert "Research use only" in page
    assert "1 scored" in page
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "summary.csv", "summary.parquet", "summary.html", "cases.csv"
    }  # fmt: skip


def test_no_cases_no_table(tmp_path: Path) -> None:
    write_summary(tmp_path, [row("a.svs", "0", "null")])
    assert not (tmp_path / "cases.csv").exists()
    assert "<h2>Cases" not in (tmp_path / "summary.html").read_text(encoding="utf-8")
    assert pq.read_table(tmp_path / "summary.parquet")["tumour_cells"].to_pylist() == [None]


def test_slides_of_two_rules_are_ordered_by_score_first() -> None:
    rows = [row("a.svs", "1+", "negative", "7"), row("b.svs", "0", "ultralow", "7")]
    assert case_rows(rows)[0]["highest_slide"] == "a.svs"


def test_a_case_shows_its_highest_slide_by_category(tmp_path: Path) -> None:
    rows = [
        row("a.svs", "0", "ultralow", "7"), row("b.svs", "0", "null", "7"),
        row("c.svs", "not evaluable", "not evaluable", "7"),
        row("d.svs", "2+", "equivocal", "8"), row("e.svs", "3+", "positive", "8"), row("f.svs", "1+", "low"),
        failed_row(SLIDE, CorruptSlideError("x", "bad"), 0).model_copy(update={"case": "9"}),
    ]  # fmt: skip
    found = {case["case"]: case for case in case_rows(rows)}
    assert list(found) == ["7", "8", "9"]
    assert (found["7"]["highest_slide"], found["7"]["highest_category"]) == ("a.svs", "ultralow")
    assert (found["7"]["slides"], found["7"]["scored"], found["7"]["not_evaluable"], found["7"]["other"]) == (
        3,
        2,
        1,
        0,
    )
    assert (found["8"]["highest_score"], found["8"]["highest_slide"]) == ("3+", "e.svs")
    assert (found["9"]["highest_score"], found["9"]["other"]) == ("", 1)
    assert "no rule" in found["7"]["note"]
