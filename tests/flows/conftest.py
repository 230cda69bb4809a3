"""A cohort of labelled slides for what evaluates and what reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.labelled_runs import leave_run, write_truth
from wsi_pipeline.scoring.evidence import SCORES


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
