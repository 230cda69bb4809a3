"""Labels and results find each other by name, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.labelled_runs import leave_run, run, write_truth
from wsi_pipeline.errors import UsageError


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
