"""Which scores a slide is near: those that come out when the cut-offs of cells are moved as far as sites differ.

Cut-offs of density and of completeness are what does not carry from site to site. Each is moved by itself, up and down,
in steps of one scale. How far one has to be moved to give the true score could be held out by site: on 26 real images
of five sites (docs/validation.md) a move of REACH gave it for 8 in 10 cases of the sites left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, get_args

from wsi_pipeline.scoring.rule import Score

COMPLETENESS_A_DOUBLING = 0.2
"""Share of directions that is taken for as large a move as twice the density: a design choice."""

STEP, STEPS = 0.125, 8
"""Moves are tried in steps of an eighth of a doubling, up to one doubling."""

REACH = 0.625
"""Scores that a move of this size or less gives are in the set, in doublings: the 80 % quantile, over the cases of four
sites, of the least move that gives the true score; 0.5 to 0.71 whichever site is left out."""


class Move(NamedTuple):
    """How cut-offs are moved: those of density are divided by `density`, `completeness` is taken off the others.

    `size` in doublings.
    """

    size: float
    density: float
    completeness: float


def moves() -> list[Move]:
    """Return all moves that are tried, the smallest first."""
    found = []
    for number in range(1, STEPS + 1):
        size = number * STEP
        for sign in (1.0, -1.0):
            found.append(Move(size, 2.0 ** (sign * size), 0.0))
            found.append(Move(size, 1.0, sign * size * COMPLETENESS_A_DOUBLING))
    return found


def nearest_scores(score: Score, moved: Mapping[Move, Score]) -> dict[Score, Move | None]:
    """Return each score that comes out, in their order, with its smallest move; None for `score` itself."""
    found: dict[Score, Move | None] = {score: None}
    for move in sorted(moved, key=lambda move: move.size):
        found.setdefault(moved[move], move)
    return {name: found[name] for name in get_args(Score) if name in found}


def score_set(nearest: Mapping[Score, Move | None]) -> tuple[Score, ...]:
    """Return the scores that a move of REACH or less gives."""
    return tuple(name for name, move in nearest.items() if move is None or move.size <= REACH)


def in_words(score: Score, move: Move) -> str:
    """Return why `score` is near."""
    if move.density != 1.0:
        more = "denser" if move.density > 1 else "paler"
        return f"it would be {score} if the stain were {2.0**move.size:.1f} times {more}"
    more = "more" if move.completeness > 0 else "less"
    points = abs(move.completeness) * 100
    return f"it would be {score} if membranes were seen over {points:.0f} points of percent {more} of their length"
