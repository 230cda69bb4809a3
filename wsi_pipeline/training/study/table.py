"""The study's table: three accuracies with intervals by patient, and what retraining changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsi_pipeline.errors import OutputError
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.scoring.agreement import (
    AgreementOptions,
    Estimate,
    Floats,
    Statistic,
    accuracy,
    confusion_by_patient,
    estimate,
    resampled,
    weighted_kappa,
)
from wsi_pipeline.training.study.files import write_table
from wsi_pipeline.training.study.judge import Predictions

METHODS = {
    "baseline": "trained on real IHC, measured on real IHC of test",
    "retrained": "trained on real and accepted virtual IHC, measured on the same real IHC of test",
    "direct": "the baseline, measured on virtual IHC made from the H&E of test",
}
"""Method -> what it is, in the order of every table."""

KAPPA, ACCURACY = "quadratic_kappa", "accuracy"


def _kappa(matrix: Floats) -> Floats:
    return weighted_kappa(matrix, 2)


def _recall(label: int) -> Statistic:
    """Return the statistic: share of tiles of class `label` that are called so."""

    def recall(matrix: Floats) -> Floats:
        row = matrix[..., label, :].sum(axis=-1)
        share = np.full(np.shape(row), np.nan)
        np.divide(matrix[..., label, label], row, out=share, where=np.asarray(row) > 0)
        return share

    return recall


STATISTICS: Mapping[str, Statistic] = {
    ACCURACY: accuracy,
    KAPPA: _kappa,
    **{f"recall_{name}": _recall(label) for label, name in enumerate(HER2_CLASSES)},
}
"""Name -> statistic; columns of the table."""


class Row(NamedTuple):
    """One method: its statistics, by name, its confusion matrix (4, 4; row: label), and how much it rests on."""

    method: str
    statistics: dict[str, Estimate]
    confusion: list[list[int]]
    tiles: int
    patients: int


class Table(NamedTuple):
    """All methods, and retrained minus baseline on the same tiles."""

    rows: tuple[Row, ...]
    difference: dict[str, Estimate]
    pairs: dict[str, int]
    """Tiles that both, one or neither of the two classifiers calls rightly."""


def make_table(predictions: Mapping[str, Predictions], options: AgreementOptions) -> Table:
    """Return the table of the predictions by method. Raises OutputError where they are not of the same tiles."""
    baseline = predictions["baseline"]
    for method, found in predictions.items():
        if found.places != baseline.places or (found.labels != baseline.labels).any():
            raise OutputError(f"predictions of {method}", "are not of the tiles that the baseline was measured on")
    matrices = {
        name: confusion_by_patient(found.labels, found.called, found.patients) for name, found in predictions.items()
    }
    rows = tuple(_row(method, matrices[method], options) for method in METHODS)
    paired = np.stack([matrices["retrained"], matrices["baseline"]], axis=1)
    right = {name: found.called == found.labels for name, found in predictions.items()}
    was, now = right["baseline"], right["retrained"]
    pairs = {
        "both right": int((was & now).sum()), "only the baseline right": int((was & ~now).sum()),
        "only the retrained right": int((~was & now).sum()), "neither right": int((~was & ~now).sum()),
    }  # fmt: skip
    return Table(rows, _difference(paired, options), pairs)


def _row(method: str, by_patient: Floats, options: AgreementOptions) -> Row:
    """Return the row of confusion matrices by patient (P, 4, 4)."""
    total, drawn = by_patient.sum(axis=0), resampled(by_patient, options)
    counts = {f"recall_{name}": int(total[label].sum()) for label, name in enumerate(HER2_CLASSES)}
    tiles = int(total.sum())
    statistics = {
        name: estimate(float(statistic(total)), statistic(drawn), counts.get(name, tiles), options)
        for name, statistic in STATISTICS.items()
    }
    return Row(method, statistics, total.astype(np.int64).tolist(), tiles, len(by_patient))


def _difference(paired: Floats, options: AgreementOptions) -> dict[str, Estimate]:
    """Return retrained minus baseline of matrices (P, 2, 4, 4): the same patients are drawn for both."""
    total, drawn = paired.sum(axis=0), resampled(paired, options)
    tiles = int(total[0].sum())
    return {
        name: estimate(
            float(statistic(total[0]) - statistic(total[1])), statistic(drawn[:, 0]) - statistic(drawn[:, 1]),
            tiles, options,
        )
        for name, statistic in STATISTICS.items()
    }  # fmt: skip


def csv_columns() -> tuple[str, ...]:
    """Return the columns of study.csv."""
    bounds = (column for name in STATISTICS for column in (name, f"{name}_low", f"{name}_high"))
    return ("classifier", "what", "tiles", "patients", *bounds)


def csv_rows(table: Table) -> list[Sequence[object]]:
    """Return a row for each method, and one for the difference; empty where not defined."""
    rows: list[Sequence[object]] = [
        (row.method, METHODS[row.method], row.tiles, row.patients, *_cells(row.statistics)) for row in table.rows
    ]
    first = table.rows[0]
    what = "the same tiles, the same patients drawn for both"
    rows.append(("retrained - baseline", what, first.tiles, first.patients, *_cells(table.difference)))
    return rows


def write_csv(table: Table, path: Path) -> None:
    """Write the table. Raises OutputError, ResourceError."""
    write_table(path, csv_columns(), csv_rows(table))


def as_json(table: Table) -> dict[str, Any]:
    """Return the table as JSON values."""
    return {
        "classifiers": [
            {
                "classifier": row.method, "what": METHODS[row.method], "tiles": row.tiles, "patients": row.patients,
                "statistics": {name: bounds(value) for name, value in row.statistics.items()},
                "confusion": {"rows": "label", "columns": "called", "order": HER2_CLASSES, "tiles": row.confusion},
            }
            for row in table.rows
        ],
        "retrained_minus_baseline": {name: bounds(value) for name, value in table.difference.items()},
        "tiles": table.pairs,
    }  # fmt: skip


def bounds(value: Estimate) -> dict[str, float | int | None]:
    """Return an estimate as JSON values."""
    return {"value": value.value, "low": value.low, "high": value.high, "tiles": value.slides}


def _cells(statistics: Mapping[str, Estimate]) -> list[object]:
    """Return value, low and high of every statistic."""
    return [
        "" if number is None else round(number, 6) for name in STATISTICS for number in statistics[name][:3]
    ]  # fmt: skip


def words(value: Estimate) -> str:
    """Return an estimate as people read it: "0.83 (0.71 to 0.92)"."""
    if value.value is None:
        return "not defined"
    if value.low is None or value.high is None:
        return f"{value.value:.3f} (no interval)"
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def text(table: Table) -> str:
    """Return accuracy and kappa of the table as lines for a terminal."""
    lines = [
        f"{row.method:<22}accuracy {words(row.statistics[ACCURACY]):<26}quadratic kappa {words(row.statistics[KAPPA])}"
        for row in table.rows
    ]
    change = table.difference
    lines.append(
        f"{'retrained - baseline':<22}accuracy {words(change[ACCURACY]):<26}quadratic kappa {words(change[KAPPA])}"
    )
    return "\n".join((*lines, f"on {table.rows[0].tiles} test tiles of {table.rows[0].patients} patients"))
