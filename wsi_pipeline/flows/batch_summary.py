"""The summary of a batch: CSV, Parquet, a page with links, and a table of cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.export.tables import write_parquet
from wsi_pipeline.flows.batch_page import summary_page
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.batch_store import BatchStore
from wsi_pipeline.results import NOTICE, SCHEMA_VERSION
from wsi_pipeline.scoring.evidence import SCORES

CATEGORIES = ("negative", "null", "ultralow", "low", "equivocal", "positive")
"""Categories by how much HER2 they stand for, among slides of one score."""

UNITS = {"seconds": "s", "tissue_mm2": "mm2", "slide_mm2": "mm2"}


def publish_summary(store: BatchStore, rows: Sequence[SlideRow]) -> None:
    """Write the summary into the results' folder, and send it where results are sent.

    Raises OutputError, ResourceError, StorageError.
    """
    write_summary(store.out, rows)
    store.deliver_summary()


def write_summary(out: Path, rows: Sequence[SlideRow]) -> None:
    """Write summary.csv, .parquet and .html, and cases.csv where a manifest named cases, whole or not at all each.

    Raises OutputError, ResourceError.
    """
    table = [row.model_dump() for row in rows]
    write_atomic(out / "summary.csv", _csv(table, list(SlideRow.model_fields)))
    cases = case_rows(rows)
    if cases:
        write_atomic(out / "cases.csv", _csv(cases, list(cases[0])))
    _write_parquet(out / "summary.parquet", table)
    write_atomic(out / "summary.html", summary_page(out, rows, cases).encode())


def case_rows(rows: Sequence[SlideRow]) -> list[dict[str, Any]]:
    """Return one row per case: how its slides ended, and the highest score with the slide that has it.

    The highest is there to be looked at; it is not a score of the case, since no rule says how blocks are combined.
    """
    cases: dict[str, list[SlideRow]] = {}
    for row in rows:
        if row.case:
            cases.setdefault(row.case, []).append(row)
    return [_case(name, slides) for name, slides in sorted(cases.items())]


def _case(name: str, slides: Sequence[SlideRow]) -> dict[str, Any]:
    """Return the row of one case."""
    scored = [row for row in slides if row.status == "scored"]
    highest = max(scored, key=lambda row: (SCORES.index(row.score), CATEGORIES.index(row.category)), default=None)
    return {
        "case": name,
        "slides": len(slides),
        "scored": len(scored),
        "not_evaluable": sum(row.status == "not evaluable" for row in slides),
        "other": sum(not row.is_good for row in slides),
        "highest_score": highest.score if highest else "",
        "highest_category": highest.category if highest else "",
        "highest_slide": highest.slide if highest else "",
        "note": "highest score of its slides, for display; no rule combines them",
    }


def _csv(table: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes:
    """Return a table as CSV (UTF-8); nothing known is an empty cell, yes or no are "yes" and "no"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in table:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    """Return a value as CSV shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else value


def _write_parquet(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows with one type per column, also where no row knows a value."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only needed here

    kinds = {
        "borderline": pa.bool_(), "virtual_stain": pa.bool_(), "seconds": pa.float64(), "h_score": pa.float64(),
        "tissue_mm2": pa.float64(), "slide_mm2": pa.float64(), "tumour_cells": pa.int64(), "warnings": pa.int64(),
    }  # fmt: skip
    fields = [(name, kinds.get(name, pa.string())) for name in SlideRow.model_fields]
    columns = pa.Table.from_pylist([dict(row) for row in table], schema=pa.schema(fields))
    write_parquet(path, columns, {"schema_version": SCHEMA_VERSION, "notice": NOTICE}, UNITS)
