"""Tables of labels as people keep them: CSV with a score for each slide or image."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsi_pipeline.errors import UsageError
from wsi_pipeline.scoring.evidence import SCORES

SHARE_NAMES = ("0", "1+", "2i", "2+", "3+")
"""Names of the shares in result.json and in a table of labels."""

OPTIONAL = ("patient", "scanner", "shares", "mpp")

CLASS_OF = {name: number for number, name in enumerate(SCORES)} | {"1": 1, "2": 2, "3": 3}
"""What is written for a score -> class 0 to 3; spreadsheets like to drop the plus."""

SUM_TOLERANCE = 1.5
"""Shares read from a report are rounded, so they sum to 100 only about, percent."""

LARGEST_MPP = 10.0
"""Pixel sizes are below this, um/px; a larger number was meant to be something else."""


@dataclass(frozen=True)
class Label:
    """One row. `label` class 0 to 3; `shares` percent by SHARE_NAMES; `mpp` um/px; `line` in the file, from 1."""

    name: str
    label: int
    line: int
    patient: str = ""
    scanner: str = ""
    shares: dict[str, float] | None = None
    mpp: float | None = None


def read_labels(path: Path, first: str) -> list[Label]:
    """Return the rows of a CSV with columns `first` and score, and any of patient, scanner, shares and mpp.

    Commas or semicolons; other columns are left alone. Raises UsageError naming the line that makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(path, "cannot be read as a CSV in UTF-8") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(text.splitlines(), delimiter=";" if head.count(";") > head.count(",") else ",")
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = [name for name in (first, "score") if name not in columns]
    if missing:
        raise UsageError(path, f"has no column {missing[0]}", f"it needs {first} and score, and may have {_listed()}")
    labels = [_label(path, reader.line_num, row, first) for row in _rows(reader, columns)]
    if not labels:
        raise UsageError(path, "has no rows", f"one row for each {first}")
    seen: dict[str, int] = {}
    for label in labels:
        if label.name in seen:
            raise UsageError(path, f"lines {seen[label.name]} and {label.line} both name {label.name}", "keep one")
        seen[label.name] = label.line
    return labels


def _listed() -> str:
    """Return the optional columns in words."""
    return f"{', '.join(OPTIONAL[:-1])} and {OPTIONAL[-1]}"


def _rows(reader: csv.DictReader[str], columns: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield rows by lower-case column name, without blanks around values; empty rows are left out."""
    for row in reader:
        values = {name: (row.get(given) or "").strip() for name, given in columns.items()}
        if any(values.values()):
            yield values


def _label(path: Path, line: int, row: dict[str, str], first: str) -> Label:
    """Return the label of one row. Raises UsageError."""
    where = f"{path} line {line}"
    if not row[first]:
        raise UsageError(where, f"names no {first}")
    if row["score"] not in CLASS_OF:
        raise UsageError(where, f"{row['score']!r} is not a score", f"one of {', '.join(SCORES)}")
    return Label(
        name=row[first],
        label=CLASS_OF[row["score"]],
        line=line,
        patient=row.get("patient", ""),
        scanner=row.get("scanner", ""),
        shares=_shares(where, row["shares"]) if row.get("shares") else None,
        mpp=_mpp(where, row["mpp"]) if row.get("mpp") else None,
    )


def _shares(where: str, text: str) -> dict[str, float]:
    """Return percent by class of "0=35 1+=65"; classes left out are 0. Raises UsageError."""
    found = dict.fromkeys(SHARE_NAMES, 0.0)
    for part in text.replace(";", " ").replace(",", " ").split():
        name, _, value = part.partition("=")
        percent = _number(value.removesuffix("%"))
        if name not in found or percent is None or not 0 <= percent <= 100:
            raise UsageError(where, f"{part!r} is not a share", "write them as 0=35 1+=50 2i=5 2+=10 3+=0, in percent")
        found[name] = percent
    if abs(sum(found.values()) - 100) > SUM_TOLERANCE:
        raise UsageError(where, f"the shares {text!r} sum to {sum(found.values()):g} %", "they are of all tumour cells")
    return found


def _mpp(where: str, text: str) -> float:
    """Return a pixel size, um/px. Raises UsageError."""
    value = _number(text)
    if value is None or not 0 < value < LARGEST_MPP:
        raise UsageError(where, f"mpp {text!r} is not a pixel size", "in um/px, such as 0.25")
    return value


def _number(text: str) -> float | None:
    """Return the finite number in `text`, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
