"""Scores against labels: what belongs together, what is counted, what is named, and what the report says."""

from __future__ import annotations

import csv
import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.evaluate import EvaluateRequest, Evaluation, evaluate
from wsi_pipeline.flows.evaluate_figures import words
from wsi_pipeline.flows.evaluate_report import write_evaluation
from wsi_pipeline.results import (
    NOTICE,
    CellCounts,
    RegionRecord,
    Result,
    ScoreRecord,
    SlideRecord,
    StainRecord,
    TileRecord,
)
from wsi_pipeline.scoring.agreement import AgreementOptions, Estimate
from wsi_pipeline.scoring.evidence import SCORES

QUICK = AgreementOptions(rounds=200)
CATEGORY = {"0": "null", "1+": "low", "2+": "equivocal", "3+": "positive", "not evaluable": "not evaluable"}
SHARES = {"0": 40.0, "1+": 30.0, "2+": 10.0, "2i": 5.0, "3+": 15.0}


def verdict(score: str, borderline: bool = False) -> dict[str, Any]:
    """Return the fields of a score."""
    shares = None if score == "not evaluable" else SHARES
    return ScoreRecord(
        score=score, category=CATEGORY[score], reason="of the test", borderline=borderline, shares=shares,
        deciding_share=None, h_score=None, tumour_cells=500,
    ).model_dump()  # fmt: skip


def leave_run(folder: Path, slide: str, score: str, **fields: Any) -> Path:
    """Write the result.json of a run that scored `slide`; `tiles` is the classifier's score, None without one."""
    tiles, borderline = fields.pop("tiles", None), fields.pop("borderline", False)
    record = TileRecord(
        **verdict(tiles), classified=50, weighted_by="tumour cells", mean_entropy_bits=0.4, cam_contrast=None,
        cam_limit=None,
    ) if tiles else None  # fmt: skip
    own = verdict(score, borderline)
    del own["tumour_cells"]
    values: dict[str, Any] = {
        "evidence": "cells and tiles" if tiles else "cells", "agreement": "one evidence only",
        "confidence": "none" if score == "not evaluable" else "moderate", "virtual_stain": False, "quality": None,
        "provenance": {"settings_sha256": "a"},
    }  # fmt: skip
    result = Result(
        slide=SlideRecord(
            path=slide, width=900, height=700, mpp_x=0.25, mpp_y=0.26, mpp_source="file", vendor="aperio", sha256="0",
            reader="openslide", bounds_x=0, bounds_y=0,
        ),
        stain="ihc",
        stain_detail=StainRecord(source="option", confidence=1, evidence={}, white=(250, 250, 250), white_source="x"),
        cells=CellCounts(measured=600, tumour=500, tumour_rule="x"), tissue_mm2=1.0,
        scored_region=RegionRecord(source="tissue", roi=None, pieces=None), pieces=(), tiles=record, networks={},
        assay="default", warnings=(), outputs={}, **(values | own | fields),
    )  # fmt: skip
    folder.mkdir(parents=True)
    path = folder / "result.json"
    path.write_text(result.model_dump_json(), encoding="utf-8")
    return path


def write_truth(path: Path, *lines: str) -> Path:
    """Write a table of labels."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Path, Path]:
    """Return labels and runs of 24 slides of 12 patients on two scanners, some wrong, two not evaluable, one missing.

    Every third label is one category too high for the score; slide 22 is not evaluable, 23 has no run.
    """
    lines = ["slide,score,patient,scanner"]
    for number in range(24):
        score = number % 3
        label = score + (number % 6 == 5)
        lines.append(f"s{number}.svs,{SCORES[label]},p{number // 2},{'A' if number < 8 else 'B'}")
        if number < 23:
            shown = "not evaluable" if number in (7, 22) else SCORES[score]
            leave_run(tmp_path / "runs" / str(number), f"/slides/s{number}.svs", shown, borderline=number % 6 == 5)
    leave_run(tmp_path / "runs" / "x", "/slides/extra.svs", "3+")
    return write_truth(tmp_path / "truth.csv", *lines), tmp_path / "runs"


def run(truth: Path, *results: Path, out: str = "report") -> Evaluation:
    """Evaluate with few rounds."""
    return evaluate(EvaluateRequest(truth, results, truth.parent / out, QUICK))


def test_nothing_is_dropped_or_counted_silently(cohort: tuple[Path, Path]) -> None:
    found = run(*cohort)
    block = found.block("reported")
    assert (block.slides, block.evaluated, block.not_evaluable_of) == (23, 21, [0, 2, 0, 0])
    assert block.not_evaluable.value == pytest.approx(2 / 23)
    said = " ".join(found.warnings)
    assert "s23.svs" in said
    assert "/slides/extra.svs" in said
    assert "2 of 23 slides (9 %) were not evaluable" in said
    assert found.kinds == ["reported"]
    wrong = sum(number % 6 == 5 for number in range(23))
    assert block.statistics["accuracy, four classes"].value == pytest.approx((21 - wrong) / 21)
    assert np.array(block.confusion).sum() == 21
    assert np.array(block.confusion)[3, 2] == wrong


def test_scanners_are_strata_with_their_counts(cohort: tuple[Path, Path]) -> None:
    found = run(*cohort)
    counts = {block.stratum: (block.slides, block.evaluated) for block in found.blocks}
    assert counts == {"all": (23, 21), "scanner A": (8, 7), "scanner B": (15, 14)}
    parts = sum(np.array(found.block("reported", name).confusion) for name in ("scanner A", "scanner B"))
    assert parts.tolist() == found.block("reported").confusion


def test_the_borderline_flag_is_held_against_correctness(cohort: tuple[Path, Path]) -> None:
    found = run(*cohort)
    assert found.confidence["borderline"].value == 0.0
    assert found.confidence["not borderline"].value == 1.0
    assert found.confidence["confidence moderate"].slides == 21
    assert found.confidence["confidence high"] == Estimate(None, None, None, 0)


def test_kinds_of_evidence_side_by_side(tmp_path: Path) -> None:
    answers = {  # slide: label, cells, tiles
        "a": ("3+", "3+", "3+"), "b": ("2+", "2+", "3+"), "c": ("1+", "2+", "1+"), "d": ("0", "0", None),
        "e": ("0", "not evaluable", "0"), "f": ("1+", "1+", "not evaluable"),
    }  # fmt: skip
    for name, (_, cells, tiles) in answers.items():
        leave_run(tmp_path / "runs" / name, f"{name}.svs", cells, tiles=tiles)
    leave_run(tmp_path / "runs" / "g", "g.svs", "2+", tiles="2+", evidence="tiles")
    lines = [f"{name},{label}" for name, (label, _, _) in answers.items()]
    found = run(write_truth(tmp_path / "t.csv", "slide,score", *lines, "g,2+"), tmp_path / "runs")
    assert found.kinds == ["reported", "cells", "tiles", "both"]
    rows = {kind: found.block(kind) for kind in found.kinds}
    assert {kind: (block.evaluated, block.without_evidence) for kind, block in rows.items()} == {
        "reported": (6, 0), "cells": (5, 1), "tiles": (5, 1), "both": (1, 2),
    }  # fmt: skip
    value = {kind: block.statistics["accuracy, four classes"].value for kind, block in rows.items()}
    assert value == {"reported": 5 / 6, "cells": 4 / 5, "tiles": 4 / 5, "both": 1.0}
    assert rows["both"].not_evaluable.value == pytest.approx(4 / 5)


def test_share_errors_where_the_labels_have_shares(tmp_path: Path) -> None:
    leave_run(tmp_path / "runs" / "a", "a.svs", "3+")
    leave_run(tmp_path / "runs" / "b", "b.svs", "3+")
    truth = write_truth(tmp_path / "t.csv", "slide,score,shares", "a,3+,0=50 1+=30 2+=10 2i=0 3+=10", "b,3+,")
    found = run(truth, tmp_path / "runs").shares
    absolute, signed = found["0"]
    assert (absolute.value, signed.value, signed.slides) == (10.0, -10.0, 1)
    assert found["3+"][1].value == 5.0
    assert found["1+"][0].value == 0.0


@pytest.mark.parametrize("name", ["s1.ome.tif", "s1", "s1.ome", "/data/one/s1.ome.tif", "one/s1.ome.tif"])
def test_slides_are_named_by_path_file_name_or_stem(name: str, tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "/data/one/s1.ome.tif", "2+")
    leave_run(tmp_path / "r2", "/data/one/s11.ome.tif", "3+")
    found = run(write_truth(tmp_path / "t.csv", "slide,score", f"{name},2+"), tmp_path)
    assert found.cases[0].run.result.score == "2+"
    assert len(found.matched.unlabelled) == 1


def test_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "/old/north/1.svs", "0")
    leave_run(tmp_path / "r2", "/old/south/1.svs", "3+")
    truth = write_truth(tmp_path / "t.csv", "slide,score", "/new/south/1.svs,3+", "/new/north/1.svs,0")
    assert run(truth, tmp_path).block("reported").statistics["accuracy, four classes"].value == 1.0
    only = run(truth, tmp_path / "r2", out="other")
    assert [(label.name, item is None) for label, item in only.matched.pairs] == [
        ("/new/south/1.svs", False), ("/new/north/1.svs", True),
    ]  # fmt: skip
    moved = run(write_truth(tmp_path / "m.csv", "slide,score", "west/1.svs,0"), tmp_path / "r1", out="moved")
    assert "folder differs: west/1.svs" in " ".join(moved.warnings)


def test_virtual_stain_is_a_stratum_and_a_warning(tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "a.svs", "0")
    leave_run(tmp_path / "r2", "b.svs", "3+", virtual_stain=True)
    found = run(write_truth(tmp_path / "t.csv", "slide,score", "a,0", "b,2+"), tmp_path)
    assert (found.block("reported", "virtual stain").slides, found.block("reported", "measured stain").slides) == (1, 1)
    assert "1 of 2 results rest on a virtual stain" in " ".join(found.warnings)


def test_results_of_different_settings_are_named(tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "a.svs", "0")
    leave_run(tmp_path / "r2", "b.svs", "3+", provenance={"settings_sha256": "b"})
    found = run(write_truth(tmp_path / "t.csv", "slide,score", "a,0", "b,2+"), tmp_path)
    assert "2 different settings" in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("lines", "words_"),
    [
        (["slide;score", "a;4+"], "t.csv line 2: '4+' is not a score"),
        (["slide,score", "a,0", "a,1+"], "lines 2 and 3 both name a"),
        (["slide,grade", "a,0"], "has no column score"),
        (["name,score", "a,0"], "has no column slide"),
        (["slide,score"], "has no rows"),
        (["slide,score", ",0"], "line 2: names no slide"),
        (["slide,score", "zzz,0"], "not one of its 1 slides has a result"),
        (["slide,score", "1.svs,0"], "1.svs: has 2 results"),
        (["slide,score", "north/1,0", "b/north/1,0"], "is the result of both"),
        (["slide,score,shares", "a,0,0=50"], "sum to 50"),
        (["slide,score,shares", "a,0,4+=50"], "'4+=50' is not a share"),
        (["slide,score,shares", "a,0,0=nan"], "'0=nan' is not a share"),
    ],
)
def test_labels_that_make_no_sense_are_one_sentence(lines: list[str], words_: str, tmp_path: Path) -> None:
    for number, slide in enumerate(("a.svs", "north/1.svs", "south/1.svs")):
        leave_run(tmp_path / "runs" / str(number), slide, "0")
    with pytest.raises(UsageError) as caught:
        run(write_truth(tmp_path / "t.csv", *lines), tmp_path / "runs")
    assert words_ in str(caught.value)


def test_results_that_are_none_are_named(tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "t.csv", "slide,score", "a,0")
    (tmp_path / "empty").mkdir()
    broken = write_truth(tmp_path / "result.json", '{"score": "3+"}')
    hidden = leave_run(tmp_path / "empty" / ".partial-a-host-1", "a.svs", "0")
    for place, problem in (
        (tmp_path / "nowhere", "no such file"),
        (tmp_path / "empty", r"holds no result\.json"),
        (broken, "is not a result"),
    ):
        with pytest.raises(UsageError, match=problem):
            run(truth, place)
    assert run(truth, hidden).block("reported").slides == 1


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    leave_run(tmp_path / "r1", "a.svs", "1+")
    truth = tmp_path / "t.csv"
    truth.write_bytes("\ufeffSlide;Score;Remark\r\na ; 1 ;x, y\r\n;;\r\n".encode())
    assert run(truth, tmp_path / "r1").block("reported").confusion[1][1] == 1


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
