"""The five checks: all reasons kept, acceptance by class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install '.[train]'")

from wsi_pipeline.stain.quality import QualityOptions
from wsi_pipeline.training.study.files import read_table
from wsi_pipeline.training.study.filtering import accepted_patches, filter_tiles, summary
from wsi_pipeline.training.study.judge import Judged, Tile


def tile(number: int, label: int) -> Tile:
    return Tile(f"virtual/train/{number}.png", "ihc.png", number, label, "s", "p")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return verdicts: a sound tile, a wrongly called one, an unsure one of class 3, and a blank one of class 0."""
    sound = np.random.default_rng(1).integers(60, 200, (32, 40, 3), dtype=np.uint8)
    blank = np.full_like(sound, 250)
    tiles = [tile(0, 2), tile(1, 2), tile(2, 3), tile(3, 0)]
    answers = [[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1], [0.25, 0.2, 0.25, 0.3], [0.1, 0.6, 0.2, 0.1]]
    judged = Judged(tiles, np.stack([sound, sound, sound, blank]), np.array(answers))
    filter_tiles([judged], QualityOptions(), tmp_path / "filter.csv")
    return tmp_path / "filter.csv"


def test_every_reason_is_kept(table: Path) -> None:
    rows = read_table(table)
    failed = [{name.removeprefix("failed_") for name, value in row.items() if value == "yes"} for row in rows]
    assert failed[0] == {"accepted"}
    assert failed[1:] == [{"label"}, {"unsure"}, {"blurred", "brightness", "contrast", "label"}]


def test_acceptance_adds_up(table: Path) -> None:
    found = {row["class"]: row for row in summary(read_table(table))}
    assert [(found[name]["tiles"], found[name]["accepted"]) for name in ("0", "1+", "2+", "3+", "all")] == [
        (1, 0), (0, 0), (2, 1), (1, 0), (4, 1),
    ]  # fmt: skip
    assert found["1+"]["accepted_percent"] is None
    assert (found["2+"]["accepted_percent"], found["all"]["failed_label"]) == (50.0, 2)


def test_accepted_tiles_are_synthetic_and_of_train(table: Path, tmp_path: Path) -> None:
    (patch,) = accepted_patches(table, tmp_path)
    assert (patch.synthetic, patch.split, patch.label, patch.slide, patch.patient) == (True, "train", 2, "s", "p")
    assert patch.path == tmp_path / "virtual" / "train" / "0.png"
