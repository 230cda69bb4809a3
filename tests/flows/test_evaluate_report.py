"""The report of an evaluation: whole, safe to open, the same every time, and it hides no slide."""

from __future__ import annotations

import csv
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.flows.labelled_runs import leave_run, run, write_truth
from wsi_pipeline.flows.evaluate_figures import words
from wsi_pipeline.flows.evaluate_report import write_evaluation
from wsi_pipeline.results import NOTICE
from wsi_pipeline.scoring.agreement import Estimate


def test_the_report_is_whole_and_needs_nothing_else(cohort: tuple[Path, Path]) -> None:
    found = run(*cohort)
    folder = write_evaluation(found)
    assert sorted(path.name for path in folder.iterdir()) == [
        "agreement.csv", "confusion.png", "evaluation.json", "intervals.png", "report.html", "slides.csv", "strata.png",
    ]  # fmt: skip
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=['\"](?!data:)", page)
    assert page.count("data:image/png;base64,") == 3
    assert NOTICE in page
    for name in ("confusion.png", "intervals.png", "strata.png"):
        picture = np.asarray(Image.open(BytesIO((folder / name).read_bytes())).convert("L"))
        assert picture.shape[1] > 500
        assert 0.02 < (picture < 128).mean() < 0.6 or name != "confusion.png"
        assert (picture < 128).any()
    facts = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["notice"] == NOTICE
    assert facts["slides"]["without_result"] == ["s23.svs"]
    assert len(facts["slides"]["results_without_label"]) == 1
    assert facts["agreement"][0]["statistics"]["quadratic kappa"]["slides"] == 21
    assert facts["agreement"][0]["confusion"]["slides"] == found.block("reported").confusion


def test_tables_hold_every_slide_and_every_figure(cohort: tuple[Path, Path]) -> None:
    found = run(*cohort)
    folder = write_evaluation(found)
    with (folder / "slides.csv").open(newline="", encoding="utf-8") as file:
        slides = list(csv.DictReader(file))
    assert len(slides) == 25
    by_name = {row["slide"]: row for row in slides}
    assert by_name["s5.svs"]["remark"] == "1 category apart"
    assert by_name["s7.svs"]["remark"] == "of the test"
    assert by_name["s23.svs"]["remark"] == "no result"
    assert by_name[""]["remark"] == "no label"
    with (folder / "agreement.csv").open(newline="", encoding="utf-8") as file:
        figures = list(csv.DictReader(file))
    chosen = [row for row in figures if (row["stratum"], row["statistic"]) == ("all", "quadratic kappa")]
    kappa = found.block("reported").statistics["quadratic kappa"]
    assert [float(chosen[0][name]) for name in ("value", "low", "high")] == pytest.approx(kappa[:3], abs=1e-6)
    assert all(row["notice"] == NOTICE for row in figures)


def test_html_in_names_stays_text(tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "<b>a.svs", "1+", reason="<script>alert(1)</script>")
    truth = write_truth(tmp_path / "t.csv", "slide,score,scanner", "<b>a,0,<i>x")
    page = (write_evaluation(run(truth, tmp_path / "r1")) / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<i>" not in page
    assert "<script" not in page


def test_the_same_seed_gives_the_same_report(cohort: tuple[Path, Path]) -> None:
    one, other = write_evaluation(run(*cohort)), write_evaluation(run(*cohort))
    assert one != other
    for name in ("agreement.csv", "slides.csv", "report.html", "confusion.png", "intervals.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_estimates_in_words() -> None:
    assert words(Estimate(0.5, 0.25, 0.75, 8)) == "0.50 (0.25 to 0.75), n 8"
    assert words(Estimate(0.5, None, None, 1)) == "0.50 (no interval), n 1"
    assert words(Estimate(None, None, None, 0)) == "not defined, n 0"
