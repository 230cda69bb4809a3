"""A slide with some broken tiles is scored with a warning; one that is mostly broken is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.end_to_end.said import own_words

pytestmark = pytest.mark.slow


def spoil(path: Path, which: list[int], page: int = 0) -> None:
    """Overwrite the second half of some tiles with noise."""
    with tifffile.TiffFile(path) as tiff:
        spans = list(zip(tiff.pages[page].dataoffsets, tiff.pages[page].databytecounts, strict=True))
    noise = np.random.default_rng(0)
    with path.open("r+b") as file:
        for index in which:
            offset, count = spans[index]
            file.seek(offset + count // 2)
            file.write(noise.bytes(count - count // 2))


@pytest.fixture
def copy(samples: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(samples / "phantom_2plus.svs", tmp_path / "damaged.svs"))


@pytest.mark.parametrize("serial", [True, False])
def test_a_broken_tile_costs_its_cells_and_a_warning(
    serial: bool, copy: Path, sample_run: Callable[[str], Any], score: Callable[..., Any], tmp_path: Path
) -> None:
    row, column = 3, 5
    spoil(copy, [row * 11 + column])
    outcome = score(copy, tmp_path / "out", serial=serial)
    assert outcome.code == 0, outcome.stderr
    warning = [text for text in outcome.result["warnings"] if "could not be read" in text]
    assert len(warning) == 1
    assert f"note: {warning[0]}" in outcome.stderr
    percent = outcome.result["provenance"]["engine"]["unreadable_percent"]
    whole = sample_run("2plus")
    assert percent == pytest.approx(100 * (256 * 0.25) ** 2 / 1e6 / whole.result["tissue_mm2"], rel=0.2)
    assert outcome.result["score"] == whole.result["score"]
    sound, found = whole.table("cells.parquet"), outcome.table("cells.parquet")

    def within(table: dict[str, np.ndarray], margin: int) -> np.ndarray:
        x, y = table["x_l0"] - column * 256, table["y_l0"] - row * 256
        return (x >= -margin) & (x < 256 + margin) & (y >= -margin) & (y < 256 + margin)

    assert within(sound, -20).sum() > 5
    assert within(found, -20).sum() == 0, "nothing is found where nothing could be read"
    far = [set(zip(t["x_l0"][~within(t, 160)], t["y_l0"][~within(t, 160)], strict=True)) for t in (sound, found)]
    assert far[0] == far[1], "the rest of the slide is untouched"


@pytest.mark.parametrize("serial", [True, False])
def test_a_mostly_broken_slide_is_refused(serial: bool, copy: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    spoil(copy, [index for index in range(88) if index % 4])
    outcome = score(copy, tmp_path / "out", serial=serial)
    assert outcome.code == 4, outcome.stderr
    assert own_words(outcome.stderr).count("\n") == 1
    assert str(copy) in outcome.stderr
    assert "cannot be read" in outcome.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.svs"}


def test_a_slide_whose_overview_is_broken_is_refused(copy: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    spoil(copy, [0, 1, 2, 3, 4, 5], page=1)
    outcome = score(copy, tmp_path / "out")
    assert outcome.code == 4, outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.svs"}
