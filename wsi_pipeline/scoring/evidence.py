"""Two kinds of evidence, cells and tiles, through one rule: how tiles count, and whether both concur.

A tile classifier gives shares of tumour area, cell measurement shares of cells. Tiles are weighted by the tumour cells
in them, since cellularity-weighted tiles agree best with pathologists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.scoring.moved import Move, in_words, score_set
from wsi_pipeline.scoring.rule import RuleOptions, Score, rests_on_incomplete
from wsi_pipeline.scoring.slide_score import SlideScore, score_tiles

Agreement = Literal["agree", "one category apart", "apart", "one evidence only"]
Confidence = Literal["high", "moderate", "low", "none"]

COLUMN_OF_TILE = (0, 1, 3, 4)
"""Column (0, 1, 2i, 2, 3) of a tile's class 0, 1+, 2+, 3+: a tile says nothing of completeness, so 2+ is complete."""

CELL_COLUMNS = 5


SCORES = ("0", "1+", "2+", "3+")


class TileVotes(NamedTuple):
    """Classified tiles: `classes` (T,) 0 to 3, and their `weights` (T,): tumour cells, or the share of tissue."""

    classes: NDArray[np.int64]
    weights: NDArray[np.float64]
    by_cells: bool


def score_votes(votes: TileVotes, tissue_mm2: float, options: RuleOptions) -> SlideScore:
    """Score classified tiles; those that weigh by tissue need tiles and tissue enough, but no cells."""
    counts = np.zeros((len(votes.classes), CELL_COLUMNS))
    counts[np.arange(len(votes.classes)), np.array(COLUMN_OF_TILE)[votes.classes]] = votes.weights
    filled = int((votes.weights > 0).sum())
    refusal = f"{filled} classified tiles, at least {options.min_tiles} needed" if filled < options.min_tiles else ""
    if votes.by_cells:
        return score_tiles(counts, tissue_mm2, options, refusal)
    score = score_tiles(counts, tissue_mm2, options.model_copy(update={"min_cells": 0}), refusal)
    return replace(score, tumour_cells=0)


def compare(cells: SlideScore | None, tiles: SlideScore | None) -> Agreement:
    """Return whether cells and tiles give the same score."""
    if cells is None or tiles is None or "not evaluable" in {cells.score, tiles.score}:
        return "one evidence only"
    apart = abs(SCORES.index(cells.score) - SCORES.index(tiles.score))
    return ("agree", "one category apart", "apart")[min(apart, 2)]


class Grounds(NamedTuple):
    """What is known of a score: `nearest` scores as moved cut-offs give them, and figures `unlike` any known image's.

    `virtual`: measured on a virtual stain; `proven`: the classifier, if any, saw real tissue.
    """

    agreement: Agreement
    nearest: Mapping[Score, Move | None]
    unlike: tuple[str, ...] = ()
    virtual: bool = False
    proven: bool = True


def confidence(score: SlideScore, grounds: Grounds) -> tuple[Confidence, tuple[str, ...]]:
    """Return how far a score may be trusted, and why not further.

    Low where another score is near (see scoring.moved), the slide is unlike any that the product was held to, 2+ rests
    on a condition of ours, the other evidence is more than a category apart, or the stain is virtual. Otherwise high
    needs two kinds of evidence that agree, of a classifier that is proven, and no borderline share; each of both takes
    a step.
    """
    if score.score == "not evaluable":
        return "none", ()
    near = score_set(grounds.nearest)
    low = [in_words(name, move) for name in near if (move := grounds.nearest[name]) is not None]
    low += [f"unlike the images that scores were held to: {figure}" for figure in grounds.unlike]
    if score.score == "2+" and score.shares is not None and rests_on_incomplete(score.shares):
        low.append("2+ rests on incomplete staining alone, of which the guideline does not say how much is 2+")
    if grounds.virtual:
        low.append("the stain is virtual")
    if grounds.agreement == "apart":
        low.append("cells and tiles are more than one category apart")
    doubts = []
    if score.borderline:
        doubts.append("the score is borderline")
    if grounds.agreement != "agree":
        apart = grounds.agreement == "one category apart"
        doubts.append("cells and tiles are one category apart" if apart else "there is one kind of evidence only")
    elif not grounds.proven:
        doubts.append("the tile classifier never saw real tissue")
    steps: tuple[Confidence, ...] = ("high", "moderate", "low")
    return ("low" if low else steps[len(doubts)]), (*low, *doubts)
