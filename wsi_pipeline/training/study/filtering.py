"""Step four: the five checks on virtual tiles, all reasons kept, acceptance per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.stain.quality import REASONS, QualityOptions, check_tiles
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.study.files import read_table, write_table
from wsi_pipeline.training.study.judge import PROBABILITIES, Judged, Tile

FAILED = {name: f"failed_{name}" for name in REASONS}
"""Check -> column, of tiles and of counts."""

COLUMNS = (*Tile._fields, "called", *PROBABILITIES, "accepted", *FAILED.values())
SUMMARY = ("class", "tiles", "accepted", "accepted_percent", *FAILED.values())

Row = dict[str, str]


def filter_tiles(judged: Iterable[Judged], options: QualityOptions, path: Path) -> None:
    """Check virtual tiles and write one row for each, with every reason. Raises OutputError, ResourceError."""
    rows = []
    for part in judged:
        labels = np.array([tile.label for tile in part.tiles], np.int64)
        quality = check_tiles(part.pixels, part.probabilities, labels, options)
        for tile, found, failed in zip(part.tiles, part.probabilities, quality.failed, strict=True):
            verdicts = ("no" if failed.any() else "yes", *("yes" if flag else "" for flag in failed))
            rows.append((*tile, int(found.argmax()), *map(repr, found.tolist()), *verdicts))
    write_table(path, COLUMNS, rows)


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for every class, and for all, how many tiles were accepted and how many failed each check.

    A tile may fail several checks.
    """
    found = []
    groups = {name: [row for row in rows if int(row["label"]) == k] for k, name in enumerate(HER2_CLASSES)}
    for name, chosen in (groups | {"all": list(rows)}).items():
        accepted = sum(row["accepted"] == "yes" for row in chosen)
        share = round(100.0 * accepted / len(chosen), 2) if chosen else None
        reasons = [sum(row[column] == "yes" for row in chosen) for column in FAILED.values()]
        found.append(dict(zip(SUMMARY, (name, len(chosen), accepted, share, *reasons), strict=True)))
    return found


def write_summary(rows: Sequence[Row], path: Path) -> None:
    """Write `summary` as CSV. Raises OutputError, ResourceError."""
    lines = (["" if value is None else value for value in row.values()] for row in summary(rows))
    write_table(path, SUMMARY, lines)


def accepted_patches(table: Path, out: Path) -> list[Patch]:
    """Return the accepted tiles of a table of `filter_tiles` as synthetic patches of training."""
    return [
        Patch(out / row["file"], int(row["label"]), row["slide"], row["patient"], split="train", synthetic=True)
        for row in read_table(table)
        if row["accepted"] == "yes"
    ]
