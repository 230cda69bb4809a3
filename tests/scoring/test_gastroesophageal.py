"""The rule of gastroesophageal tumours (CAP/ASCP/ASCO 2016): resections by share, biopsies by clusters of cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.scoring.clusters import largest_clusters
from wsi_pipeline.scoring.evidence import SCORES
from wsi_pipeline.scoring.rule import Clusters, RuleOptions, Shares, apply_cluster_rule, apply_rule, deciding_quantity
from wsi_pipeline.scoring.slide_score import score_biopsy, score_tiles

RESECTION = RuleOptions(tumour="gastroesophageal")
BIOPSY = RuleOptions(tumour="gastroesophageal", specimen="biopsy")


def shares(*, faint: float = 0, moderate: float = 0, strong: float = 0) -> Shares:
    return Shares(100 - faint - moderate - strong, faint, 0, moderate, strong)


@pytest.mark.parametrize(
    ("some", "score", "category"),
    [
        (shares(strong=10), "3+", "positive"),
        (shares(strong=9.99), "0", "negative"),
        (shares(strong=9.99, moderate=0.01), "2+", "equivocal"),
        (shares(strong=9.99, faint=60), "1+", "negative"),
        (shares(moderate=10), "2+", "equivocal"),
        (shares(moderate=9.99), "0", "negative"),
        (shares(moderate=9, faint=1), "1+", "negative"),
        (shares(faint=10), "1+", "negative"),
        (shares(faint=9.99), "0", "negative"),
        (shares(), "0", "negative"),
    ],
)
def test_ten_percent_are_enough_in_a_resection(some: Shares, score: str, category: str) -> None:
    assert apply_rule(some, RESECTION)[:2] == (score, category)


def test_exactly_ten_percent_parts_the_two_rules() -> None:
    """Whatever sum of shares makes 10 %: three and seven of a hundred, or one and two of thirty."""
    for total in range(10, 2000, 10):
        for strong in range(0, total // 10 + 1, 7):
            rest = total // 10 - strong
            counts = np.array([[total - strong - rest, 0, 0, rest, strong]] * 10)
            assert score_tiles(counts, 1.0, RESECTION).score == ("3+" if rest == 0 else "2+")
            faint = np.array([[total - strong - rest, rest, strong, 0, 0]] * 10)
            assert score_tiles(faint, 1.0, RuleOptions()).category == "ultralow"


@st.composite
def any_shares(draw: st.DrawFn) -> Shares:
    parts = [draw(st.floats(0, 1)) for _ in range(5)]
    total = sum(parts)
    return Shares(*(100 * part / total for part in parts)) if total > 0 else Shares(100, 0, 0, 0, 0)


@given(any_shares(), st.floats(0, 1), st.sampled_from(["faint", "moderate", "strong"]))
def test_more_staining_never_lowers_the_score(before: Shares, moved: float, to: str) -> None:
    lost = before.none * moved
    after = before._replace(none=before.none - lost, **{to: getattr(before, to) + lost})
    scores = [SCORES.index(apply_rule(some, RESECTION).score) for some in (before, after)]
    assert scores[0] <= scores[1]
    assert deciding_quantity(after, SCORES[scores[1]]) in {"strong", "complete", "stained", "incomplete"}


@pytest.mark.parametrize("category", ["low", "ultralow", "null"])
@given(some=any_shares())
def test_low_and_ultralow_are_words_for_breast_cancer(category: str, some: Shares) -> None:
    assert apply_rule(some, RESECTION).category != category


@pytest.mark.parametrize(
    ("clusters", "score"),
    [((5, 5, 5), "3+"), ((5, 5, 4), "2+"), ((5, 4, 4), "1+"), ((4, 4, 4), "0"), ((0, 0, 0), "0"), ((90, 4, 0), "1+")],
)
def test_five_cells_make_a_cluster_and_four_do_not(clusters: tuple[int, int, int], score: str) -> None:
    assert apply_cluster_rule(Clusters(*clusters), BIOPSY).score == score


def row_of_cells(count: int, apart: float, *, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    return np.stack([x + apart * np.arange(count), np.full(count, y)], axis=1)


def test_cells_of_a_cluster_touch_and_weaker_ones_join_none() -> None:
    place = np.vstack([row_of_cells(5, 13.9), row_of_cells(7, 14.1, y=300)])
    classes = np.array([4, 4, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4])
    assert largest_clusters(place, classes, 14.0) == Clusters(5, 5, 2)
    assert largest_clusters(place, np.full(12, 2), 14.0) == Clusters(5, 0, 0), "partial staining is 1+"
    assert largest_clusters(place, np.zeros(12, int), 14.0) == Clusters(0, 0, 0)


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 70), st.sampled_from([0, 1, 2, 3, 4])), max_size=25))
def test_clusters_are_those_of_a_walk_from_cell_to_cell(cells: list[tuple[float, float, int]]) -> None:
    place = np.array([cell[:2] for cell in cells]).reshape(-1, 2)
    classes = np.array([cell[2] for cell in cells], dtype=int)

    def largest(least: int) -> int:
        left, best = set(np.flatnonzero(classes >= least).tolist()), 0
        while left:
            reached, found = [left.pop()], 1
            while reached:
                here = reached.pop()
                near = {other for other in left if np.linalg.norm(place[other] - place[here]) <= 14.0}
                left -= near
                reached += near
                found += len(near)
            best = max(best, found)
        return best

    found = largest_clusters(place, classes, 14.0)
    assert found == Clusters(largest(1), largest(3), largest(4))
    assert found.faint >= found.moderate >= found.strong


@pytest.mark.parametrize(
    ("clusters", "score", "borderline"),
    [((40, 20, 9), "3+", True), ((40, 20, 10), "3+", False), ((40, 20, 3), "2+", True), ((40, 20, 2), "2+", False)],
)
def test_a_biopsy_is_scored_whatever_the_share(clusters: tuple[int, int, int], score: str, borderline: bool) -> None:
    counts = np.array([[990, 10, 0, 10, 10]])
    found = score_biopsy(counts, Clusters(*clusters), 0.4, BIOPSY)
    assert (found.score, found.borderline, found.interval) == (score, borderline, None)
    assert found.shares is not None
    assert found.shares.stained < 3


def test_a_biopsy_needs_cells_too() -> None:
    few = score_biopsy(np.array([[10, 0, 0, 0, 80]]), Clusters(80, 80, 80), 0.4, BIOPSY)
    assert (few.score, few.reason) == ("not evaluable", "90 tumour cells, at least 100 needed")
    assert (
        score_biopsy(np.zeros((0, 5), int), Clusters(0, 0, 0), 0.4, BIOPSY).reason
        == "0 tumour cells, at least 100 needed"
    )
    assert score_biopsy(np.array([[500, 0, 0, 0, 80]]), Clusters(9, 9, 9), 0.01, BIOPSY).score == "not evaluable"
