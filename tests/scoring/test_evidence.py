"""Cells and tiles through one rule."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.scoring.evidence import Confidence, Grounds, TileVotes, compare, confidence, score_votes
from wsi_pipeline.scoring.moved import Move
from wsi_pipeline.scoring.rule import RuleOptions, Shares
from wsi_pipeline.scoring.slide_score import SlideScore, score_tiles

RULE = RuleOptions()


def votes(strong: float, faint: float, none: float, by_cells: bool = True) -> TileVotes:
    """Return 40 tiles of each class, whose weights add up to the shares given."""
    classes = np.repeat([3, 1, 0], 40)
    return TileVotes(classes, np.repeat([strong / 40, faint / 40, none / 40], 40), by_cells)


@pytest.mark.parametrize(
    ("strong", "faint", "none", "score"),
    [(120, 0, 880, "3+"), (90, 0, 910, "2+"), (0, 110, 890, "1+"), (0, 90, 910, "0"), (5, 400, 595, "1+")],
)
def test_tiles_count_by_the_tumour_cells_in_them(strong: float, faint: float, none: float, score: str) -> None:
    found = score_votes(votes(strong, faint, none), 2.0, RULE)
    assert found.score == score
    assert found.shares is not None
    assert found.shares.strong == pytest.approx(strong / 10)
    assert found.tumour_cells == 1000


def test_one_tile_full_of_tumour_outweighs_many_without() -> None:
    classes, weights = np.array([3] * 12 + [0] * 88), np.array([50.0] * 12 + [1.0] * 88)
    found = score_votes(TileVotes(classes, weights, by_cells=True), 2.0, RULE)
    assert found.score == "3+"
    assert found.shares is not None
    assert found.shares.strong == pytest.approx(100 * 600 / 688)


def test_tiles_by_tissue_need_no_cells_but_tiles() -> None:
    found = score_votes(votes(12, 0, 88, by_cells=False), 2.0, RULE)
    assert (found.score, found.tumour_cells) == ("3+", 0)
    few = TileVotes(np.array([3] * 9), np.ones(9), by_cells=False)
    assert score_votes(few, 2.0, RULE).reason == "9 classified tiles, at least 10 needed"
    assert score_votes(few, 2.0, RULE.model_copy(update={"min_tiles": 9})).score == "3+"
    assert score_votes(votes(12, 0, 88, by_cells=False), 0.01, RULE).score == "not evaluable"
    nothing = TileVotes(np.zeros(0, np.int64), np.zeros(0), by_cells=False)
    assert score_votes(nothing, 2.0, RULE).score == "not evaluable"


def test_tiles_without_tumour_cells_say_nothing() -> None:
    found = score_votes(TileVotes(np.array([3] * 40), np.zeros(40), by_cells=True), 2.0, RULE)
    assert found.score == "not evaluable"


def cells(shares: tuple[int, int, int, int, int]) -> SlideScore:
    return score_tiles(np.array([shares] * 30), 2.0, RULE)


def level(score: SlideScore, grounds: Grounds) -> Confidence:
    return confidence(score, grounds)[0]


def test_another_score_nearby_is_low_confidence_and_said() -> None:
    score = cells((50, 0, 0, 0, 50))
    near, far = Move(0.5, 2.0**-0.5, 0.0), Move(0.75, 1.0, -0.15)
    found = confidence(score, Grounds("agree", {"2+": near, "3+": None}))
    assert found == ("low", ("it would be 2+ if the stain were 1.4 times paler",))
    assert confidence(score, Grounds("agree", {"2+": far, "3+": None})) == ("high", ())
    edge = Move(0.625, 1.0, -0.125)
    assert confidence(score, Grounds("agree", {"2+": edge, "3+": None}))[1] == (
        "it would be 2+ if membranes were seen over 12 points of percent less of their length",
    )


def test_a_slide_unlike_any_known_is_low_confidence_and_said() -> None:
    found = confidence(cells((50, 0, 0, 0, 50)), Grounds("one evidence only", {"3+": None}, ("30 cells per mm2",)))
    assert found == (
        "low", ("unlike the images that scores were held to: 30 cells per mm2", "there is one kind of evidence only"),
    )  # fmt: skip


def test_a_score_that_rests_on_our_own_condition_is_low_confidence_and_said() -> None:
    incomplete, both = cells((70, 0, 28, 2, 0)), cells((60, 0, 28, 12, 0))
    assert incomplete.score == both.score == "2+"
    found = confidence(incomplete, Grounds("agree", {"2+": None}))
    assert found == (
        "low",
        ("2+ rests on incomplete staining alone, of which the guideline does not say how much is 2+",),
    )
    assert confidence(both, Grounds("agree", {"2+": None})) == ("high", ())


def test_agreement_and_what_it_is_worth() -> None:
    strong, moderate, none = cells((50, 0, 0, 0, 50)), cells((50, 0, 0, 50, 0)), cells((100, 0, 0, 0, 0))
    assert [found.score for found in (strong, moderate, none)] == ["3+", "2+", "0"]
    assert compare(strong, strong) == "agree"
    assert compare(strong, moderate) == "one category apart"
    assert compare(none, moderate) == "apart"
    assert compare(strong, None) == compare(None, strong) == "one evidence only"
    assert compare(strong, cells((1, 0, 0, 0, 0))) == "one evidence only", "too few cells are no evidence"
    assert level(strong, Grounds("agree", {})) == "high"
    assert level(strong, Grounds("one evidence only", {})) == "moderate"
    assert level(strong, Grounds("one category apart", {})) == "moderate"
    assert level(strong, Grounds("apart", {})) == "low"
    assert level(strong, Grounds("agree", {}, virtual=True)) == "low"
    assert level(strong, Grounds("agree", {}, proven=False)) == "moderate"
    assert level(strong, Grounds("one category apart", {}, proven=False)) == "moderate"
    wide = score_tiles(np.array([(100, 0, 0, 0, 0)] * 25 + [(30, 0, 0, 0, 70)] * 5), 2.0, RULE)
    assert wide.borderline
    assert level(wide, Grounds("agree", {})) == "moderate"
    assert level(wide, Grounds("one category apart", {})) == "low"
    assert level(cells((1, 0, 0, 0, 0)), Grounds("agree", {})) == "none"


def test_a_tile_counts_as_the_column_of_its_class() -> None:
    """2+ is complete staining, for a tile says nothing of completeness: H-score and rule follow from it."""
    votes = TileVotes(np.repeat([0, 1, 2, 3], [4, 3, 2, 1]), np.full(10, 20.0), by_cells=True)
    found = score_votes(votes, 1.0, RuleOptions())
    assert found.shares == Shares(none=40.0, faint=30.0, incomplete=0.0, moderate=20.0, strong=10.0)
    assert (found.score, found.reason) == ("2+", "complete weak to moderate staining in more than 10 %")
