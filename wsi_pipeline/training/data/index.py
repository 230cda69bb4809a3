"""An index of patches as CSV or Parquet: the layout for everything that no other layout fits."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.data.labels import parse_label, parse_split
from wsi_pipeline.training.data.records import Patch

COLUMNS = ("path", "pair", "label", "slide", "patient", "split", "synthetic")
"""`path` and `slide` are required. `path` is the IHC image, `pair` its H&E; both relative to the index's folder."""

YES = {"true", "1", "yes"}
NO = {"", "false", "0", "no"}


def read_index(file: Path) -> list[Patch]:
    """Return the patches listed in `file` (.csv or .parquet). Raises UsageError naming the file or the line's image."""
    if file.suffix.lower() not in {".csv", ".parquet"}:
        raise UsageError(file, "is not an index of patches", "give a folder, a .csv or a .parquet")
    columns, rows = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise UsageError(file, f"its column {unknown[0]!r} is not known", f"columns are {', '.join(COLUMNS)}")
    missing = [name for name in ("path", "slide") if name not in columns]
    if missing:
        raise UsageError(
            file, f"it has no column {missing[0]!r}", "path says which image, slide keeps its patches together"
        )
    if not rows:
        raise UsageError(file, "it lists no patch")
    return [_patch(row, file.parent, f"{file}, row {number}") for number, row in enumerate(rows, 1)]


def write_index(patches: Iterable[Patch], file: Path) -> None:
    """Write `patches` as a CSV that `read_index` reads back, with absolute paths."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for patch in patches:
            label = "" if patch.label is None else HER2_CLASSES[patch.label]
            pair = "" if patch.he is None else patch.he.resolve()
            known = (patch.slide, patch.patient, patch.split or "", str(patch.synthetic).lower())
            writer.writerow([patch.path.resolve(), pair, label, *known])


def _csv(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return column names and rows of a CSV; a byte-order mark, as spreadsheets write it, is skipped."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="", restkey="(more)", strict=True)
            rows = list(reader)
            columns = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(file, f"cannot be read as CSV: {error}") from error
    long = next((number for number, row in enumerate(rows, 1) if "(more)" in row), None)
    if long is not None:
        raise UsageError(file, f"row {long} has more values than the header has names")
    return columns, rows


def _parquet(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return column names and rows of a Parquet file, values as text and null as nothing."""
    import pyarrow as pa  # noqa: PLC0415  (heavy: only for those who have such a file)
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(file, f"cannot be read as Parquet: {error}") from error
    return list(table.column_names), [{name: _text(value) for name, value in row.items()} for row in table.to_pylist()]


def _text(value: object) -> str:
    """Return a cell as a CSV would hold it; a label column with gaps often arrives as 2.0 and nan."""
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _patch(row: dict[str, str], folder: Path, place: str) -> Patch:
    """Return the patch of one row."""
    text = {name: (row.get(name) or "").strip() for name in COLUMNS}
    for name in ("path", "slide"):
        if not text[name]:
            raise UsageError(place, f"it has no {name}")
    path = folder / text["path"]
    if text["synthetic"].lower() not in YES | NO:
        raise UsageError(path, f"synthetic is {text['synthetic']!r}", "write true or false")
    return Patch(
        path=path,
        label=parse_label(text["label"], path) if text["label"] else None,
        slide=text["slide"],
        patient=text["patient"] or text["slide"],
        he=folder / text["pair"] if text["pair"] else None,
        split=parse_split(text["split"], path) if text["split"] else None,
        synthetic=text["synthetic"].lower() in YES,
    )
