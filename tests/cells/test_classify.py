"""Classes of cells where lateral and basolateral staining counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.cells.classify import CELL_CLASSES, classify_lateral
from wsi_pipeline.cells.options import AssayProfile

ASSAY = AssayProfile(name="test", faint=0.07, moderate=0.30, intense=0.70, complete=0.72, stained=0.25)


def class_of(completeness: float, intensity: float) -> str:
    found = classify_lateral(np.array([completeness], np.float32), np.array([intensity], np.float32), ASSAY)
    return CELL_CLASSES[int(found[0])]


@pytest.mark.parametrize(
    ("completeness", "intensity", "name"),
    [
        (0.5, 0.9, "3"),
        (0.5, 0.4, "2"),
        (1.0, 0.4, "2"),
        (0.5, 0.2, "2"),
        (1.0, 0.1, "1"),
        (0.3, 0.9, "1"),
        (0.37, 0.71, "3"),
        (0.2, 0.9, "0"),
        (0.0, 0.0, "0"),
    ],
)
def test_two_sides_are_enough_and_faint_is_faint_however_complete(
    completeness: float, intensity: float, name: str
) -> None:
    assert class_of(completeness, intensity) == name


@given(st.floats(0, 1), st.floats(0, 2), st.floats(0, 1), st.floats(0, 2))
def test_more_membrane_and_denser_membrane_never_weaken_a_cell(
    completeness: float, intensity: float, more: float, denser: float
) -> None:
    before = CELL_CLASSES.index(class_of(completeness, intensity))
    assert before != CELL_CLASSES.index("2i")
    assert CELL_CLASSES.index(class_of(min(completeness + more, 1.0), intensity)) >= before
    assert CELL_CLASSES.index(class_of(completeness, intensity + denser)) >= before
