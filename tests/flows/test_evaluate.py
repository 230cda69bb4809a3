"""Scores against labels: what is counted, by which evidence and in which strata, and what is warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.flows.labelled_runs import leave_run, run, write_truth
from wsi_pipeline.scoring.agreement import Estimate


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
