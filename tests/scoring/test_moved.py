"""Which scores a slide is near."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.scoring.moved import REACH, STEP, STEPS, Move, moves, nearest_scores, score_set
from wsi_pipeline.scoring.rule import Score

SCORE = st.sampled_from(["0", "1+", "2+", "3+"])


def test_moves_go_both_ways_and_never_in_two_directions_at_once() -> None:
    found = moves()
    assert len(found) == 4 * STEPS
    assert [move.size for move in found] == sorted(move.size for move in found)
    assert all((move.density == 1.0) != (move.completeness == 0.0) for move in found)
    assert {move.density for move in found if move.size == 1.0} == {2.0, 1.0, 0.5}
    assert STEP <= REACH <= STEP * STEPS


@given(SCORE, st.lists(SCORE, min_size=4 * STEPS, max_size=4 * STEPS))
def test_a_set_holds_the_score_and_what_is_within_reach(score: Score, given_scores: list[Score]) -> None:
    moved = dict(zip(moves(), given_scores, strict=True))
    nearest = nearest_scores(score, moved)
    chosen = score_set(nearest)
    assert score in chosen
    assert set(chosen) == {score} | {name for move, name in moved.items() if move.size <= REACH}
    assert list(chosen) == sorted(chosen)
    assert all(
        nearest[name] == min((m for m in moved if moved[m] == name), key=lambda m: m.size)
        for name in nearest
        if name != score
    )


def test_the_smallest_move_counts() -> None:
    moved: dict[Move, Score] = {Move(0.5, 2.0, 0.0): "2+", Move(0.25, 1.0, 0.05): "2+", Move(1.0, 0.5, 0.0): "0"}
    assert nearest_scores("1+", moved) == {"0": Move(1.0, 0.5, 0.0), "1+": None, "2+": Move(0.25, 1.0, 0.05)}
