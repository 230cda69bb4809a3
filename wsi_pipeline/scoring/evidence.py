"""Two kinds of evidence, cells and tiles, through one rule: how tiles count, and whether both concur.

A tile classifier gives shares of tumour area, cell measurement shares of cells. Tiles are weighted by the tumour cells
in them, since cellularity-weighted tiles agree best with pathologists.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.scoring.rule import RuleOptions
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


def confidence(score: SlideScore, agreement: Agreement, *, virtual: bool, proven: bool = True) -> Confidence:
    """Return how far a score may be trusted: a design choice, from what is known of the slide alone.

    High needs two kinds of evidence that agree and a share away from the cut-off: a borderline share takes a step, and
    so does evidence that is one category apart, of one kind only, or of a classifier that is not `proven` (it never saw
    real tissue). A score on a virtual stain, and one that the other
    evidence contradicts by more than a category, is of low confidence.
    """
    if score.score == "not evaluable":
        return "none"
    if virtual or agreement == "apart":
        return "low"
    doubts = int(score.borderline) + int(agreement != "agree" or not proven)
    steps: tuple[Confidence, ...] = ("high", "moderate", "low")
    return steps[doubts]
