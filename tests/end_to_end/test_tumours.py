"""A slide of another tumour is scored by that tumour's rule, and every file of the run says so."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.end_to_end.conftest import SMALL_REGIONS, Cli

BIOPSY = ("--tumour", "gastroesophageal", "--specimen", "biopsy")


@pytest.mark.slow
def test_a_gastroesophageal_resection(score: Cli, samples: Path, tmp_path: Path) -> None:
    outcome = score(samples / "phantom_2plus.svs", tmp_path / "out", "--tumour", "gastroesophageal")
    result = outcome.result
    assert outcome.code == 0, outcome.stderr
    assert (result["tumour"], result["specimen"], result["rule"]) == (
        "gastroesophageal", "resection", "CAP/ASCP/ASCO 2016",
    )  # fmt: skip
    assert (result["score"], result["category"], result["clusters"]) == ("2+", "equivocal", None)
    assert "basolateral or lateral staining in at least 10 %" in result["reason"]
    assert "rule of gastroesophageal tumours, resection" in outcome.stderr
    cells = outcome.table("cells.parquet")
    assert set(cells["class"]) <= {"0", "1", "2", "3"}
    partial = (cells["completeness"] > 0.4) & (cells["completeness"] < 0.7) & (cells["intensity_od"] > 0.31)
    assert partial.any()
    assert set(cells["class"][partial]) <= {"2", "3"}
    (entry,) = [image for image in _images(outcome.out) if "HER2 score" in image["metadata"]]
    assert entry["metadata"]["HER2 rule"] == "CAP/ASCP/ASCO 2016"
    assert entry["metadata"]["Tumour"] == "gastroesophageal, resection"
    footer = pq.read_schema(outcome.out / "cells.parquet").metadata
    assert footer[b"tumour"] == b"gastroesophageal, resection"
    assert result["provenance"]["settings"]["rule"]["tumour"] == "gastroesophageal"


@pytest.mark.slow
def test_a_biopsy_is_scored_by_clusters_across_regions(score: Cli, samples: Path, tmp_path: Path) -> None:
    slide = samples / "phantom_ultralow.svs"
    whole = score(slide, tmp_path / "whole", *BIOPSY).result
    parts = score(slide, tmp_path / "parts", *BIOPSY, *SMALL_REGIONS).result
    assert (whole["specimen"], whole["deciding_share"]) == ("biopsy", None)
    assert whole["clusters"] == parts["clusters"]
    assert whole["clusters"]["1+"] >= whole["clusters"]["2+"] >= whole["clusters"]["3+"]
    assert (whole["score"], whole["reason"]) == (parts["score"], parts["reason"])
    strong = score(samples / "phantom_3plus.svs", tmp_path / "3", *BIOPSY).result
    assert (strong["score"], strong["category"]) == ("3+", "positive")
    assert strong["reason"] == (
        f"a cluster of {strong['clusters']['3+']} cells with strong complete, basolateral or lateral staining"
    )


def test_breast_stays_what_is_meant_unless_said(score: Cli, samples: Path, tmp_path: Path) -> None:
    outcome = score(samples / "phantom_null.svs", tmp_path / "out", "--specimen", "biopsy")
    assert outcome.code == 2
    assert (
        "--specimen biopsy: only matters for gastroesophageal tumours (add --tumour gastroesophageal)" in outcome.stderr
    )
    assert not outcome.out.exists()


def _images(out: Path) -> list[dict]:
    """Return the images of the run's QuPath project."""
    return json.loads((out / "project.qpproj").read_text(encoding="utf-8"))["images"]
