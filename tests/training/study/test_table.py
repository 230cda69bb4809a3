"""The table against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.scoring.agreement import AgreementOptions

pytest.importorskip("torch", reason="needs the train extra: pip install '.[train]'")

from wsi_pipeline.training.study.judge import Predictions
from wsi_pipeline.training.study.table import csv_columns, csv_rows, make_table, text

LABELS = [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
PATIENTS = ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e"]
CALLED = {
    "baseline": [0, 1, 1, 1, 0, 2, 3, 3, 3, 1],
    "retrained": [0, 0, 1, 1, 2, 2, 3, 3, 3, 3],
    "direct": [0, 1, 2, 3, 0, 1, 2, 3, 0, 1],
}
OPTIONS = AgreementOptions(rounds=400)


def predictions(called: list[int], first: int = 0) -> Predictions:
    places = [("p", number) for number in range(first, first + len(called))]
    return Predictions(np.array(LABELS), np.array(called), PATIENTS, PATIENTS, places)


@pytest.fixture
def found() -> dict[str, Predictions]:
    return {name: predictions(called) for name, called in CALLED.items()}


def test_accuracies_recalls_and_counts(found: dict[str, Predictions]) -> None:
    table = make_table(found, OPTIONS)
    assert [row.statistics["accuracy"].value for row in table.rows] == pytest.approx([0.6, 0.8, 0.3])
    recalls = [table.rows[0].statistics[f"recall_{name}"] for name in ("0", "1+", "2+", "3+")]
    assert [value.value for value in recalls] == pytest.approx([1 / 2, 2 / 3, 1 / 2, 2 / 3])
    assert [value.slides for value in recalls] == [2, 3, 2, 3]
    assert (table.rows[0].tiles, table.rows[0].patients) == (10, 5)
    assert table.rows[2].confusion[3] == [1, 1, 0, 1]


def test_the_difference_is_paired(found: dict[str, Predictions]) -> None:
    table = make_table(found, OPTIONS)
    change = table.difference["accuracy"]
    assert change.value == pytest.approx(0.2)
    assert table.pairs == {
        "both right": 6, "only the baseline right": 0, "only the retrained right": 2, "neither right": 2,
    }  # fmt: skip
    assert change.low is not None
    assert change.low >= 0, "no draw of patients makes it worse, for no tile became worse"
    same = make_table(found | {"retrained": found["baseline"]}, OPTIONS).difference["accuracy"]
    assert (same.value, same.low, same.high) == (0, 0, 0), "of equal answers every draw has the difference 0"


def test_other_tiles_are_refused(found: dict[str, Predictions]) -> None:
    with pytest.raises(OutputError, match="predictions of direct: are not of the tiles"):
        make_table(found | {"direct": predictions(CALLED["direct"], first=1)}, OPTIONS)


def test_rows_fit_their_head(found: dict[str, Predictions]) -> None:
    table = make_table(found, OPTIONS)
    rows = csv_rows(table)
    assert {len(row) for row in rows} == {len(csv_columns())}
    assert [row[0] for row in rows] == ["baseline", "retrained", "direct", "retrained - baseline"]
    assert "retrained - baseline  accuracy 0.200" in text(table)
