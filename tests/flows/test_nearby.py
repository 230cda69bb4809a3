"""What cells would score under other cut-offs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.flows.nearby import moved_classes, scores_nearby, unlike_known
from wsi_pipeline.flows.tile_region import Columns
from wsi_pipeline.geometry import Mpp
from wsi_pipeline.scoring.moved import Move, score_set
from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.scoring.slide_score import SlideScore, score_tiles

ASSAY = AssayProfile(name="test", faint=0.07, moderate=0.30, intense=0.70, complete=0.72, stained=0.25)
MPP = Mpp(0.25, 0.3)
STILL = Move(0.0, 1.0, 0.0)


def cells(completeness: float, intensity: float, stained: int = 130, count: int = 300) -> Columns:
    """Return `count` tumour cells in a row, the first `stained` alike, the others bare, and one that does not count."""
    bare = np.arange(count + 1) >= stained
    return {
        "x_l0": 40.0 * np.arange(count + 1), "y_l0": np.zeros(count + 1), "tumour": np.arange(count + 1) < count,
        "scored": np.ones(count + 1, bool), "hematoxylin_od": np.full(count + 1, 0.15, np.float32),
        "completeness": np.where(bare, 0, completeness).astype(np.float32),
        "intensity_od": np.where(bare, 0, intensity).astype(np.float32),
    }  # fmt: skip


def scored(table: Columns, rule: RuleOptions) -> SlideScore:
    chosen = table["tumour"]
    classes = moved_classes(table["completeness"][chosen], table["intensity_od"][chosen], STILL, ASSAY, rule)
    return score_tiles(np.array([np.bincount(classes, minlength=5)]), 0.1, rule)


@pytest.mark.parametrize(
    ("completeness", "intensity", "score", "chosen"),
    [
        (1.0, 1.5, "3+", ("3+",)),
        (1.0, 0.80, "3+", ("2+", "3+")),
        (1.0, 0.50, "2+", ("2+", "3+")),
        (1.0, 0.20, "2+", ("2+",)),
        (0.8, 0.20, "2+", ("1+", "2+")),
        (0.5, 0.28, "1+", ("1+", "2+")),
        (0.5, 0.15, "1+", ("1+",)),
        (0.5, 0.09, "1+", ("0", "1+")),
        (0.2, 0.15, "0", ("0", "1+")),
        (0.1, 0.15, "0", ("0",)),
    ],
)
def test_scores_near_a_cut_off_are_in_the_set(
    completeness: float, intensity: float, score: str, chosen: tuple[str, ...]
) -> None:
    table, rule = cells(completeness, intensity), RuleOptions()
    found = scored(table, rule)
    assert found.score == score
    assert score_set(scores_nearby(found, table, ASSAY, rule, MPP)) == chosen


def test_few_stained_cells_change_no_score() -> None:
    table, rule = cells(1.0, 0.50, stained=9), RuleOptions()
    assert score_set(scores_nearby(scored(table, rule), table, ASSAY, rule, MPP)) == ("0", "2+"), "0 < p3 is 2+"
    weak = cells(0.5, 0.28, stained=9)
    assert score_set(scores_nearby(scored(weak, rule), weak, ASSAY, rule, MPP)) == ("0",)


def test_each_tumour_and_specimen_by_its_own_rule() -> None:
    table = cells(0.5, 0.9, stained=20)
    resection = RuleOptions(tumour="gastroesophageal")
    biopsy = resection.model_copy(update={"specimen": "biopsy"})
    zero = replace(scored(table, resection), score="0")
    assert score_set(scores_nearby(zero, table, ASSAY, resection, MPP)) == ("0",), "20 of 300 are no 10 %"
    assert score_set(scores_nearby(replace(zero, score="3+"), table, ASSAY, biopsy, MPP)) == ("2+", "3+")


def test_what_is_not_evaluable_is_near_nothing() -> None:
    nothing = SlideScore("not evaluable", "not evaluable", "", False, None, None, 0)
    assert scores_nearby(nothing, cells(1, 1), ASSAY, RuleOptions(), MPP) == {}
    assert unlike_known(nothing, cells(1, 1), 0.1) == ()


@pytest.mark.parametrize(
    ("tissue_mm2", "blue", "words"),
    [(0.1, 0.15, ()), (1.0, 0.15, ("300 tumour cells per mm2",)), (0.02, 0.15, ("15,000 tumour",)),
     (0.1, 0.03, ("0.03 OD",)), (1.0, 0.5, ("300 tumour", "0.50 OD"))],
)  # fmt: skip
def test_figures_outside_of_what_is_known_are_named(tissue_mm2: float, blue: float, words: tuple[str, ...]) -> None:
    table = cells(1.0, 1.5) | {"hematoxylin_od": np.full(301, blue, np.float32)}
    found = unlike_known(scored(table, RuleOptions()), table, tissue_mm2)
    assert len(found) == len(words)
    assert all(word in figure for word, figure in zip(words, found, strict=True))
