"""The slide-level record: shares, score, interval of the deciding share, borderline and not evaluable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.scoring.rule import (
    CUT_OFF_PERCENT,
    Category,
    Clusters,
    RuleOptions,
    Score,
    Shares,
    apply_cluster_rule,
    apply_rule,
    deciding_quantity,
    is_near_cluster_size,
)

Counts = NDArray[np.int64] | NDArray[np.float64]
"""Tumour cells, or their weight."""

BOOTSTRAP_SEED = 20181
"""Fixed, so that the same cells always give the same interval."""


@dataclass(frozen=True)
class Interval:
    """A share with its bootstrap interval, percent; `quantity` names which share (a property of Shares)."""

    quantity: str
    value: float
    low: float
    high: float

    @property
    def straddles_cut_off(self) -> bool:
        """Whether the interval contains the 10 % cut-off."""
        return self.low <= CUT_OFF_PERCENT <= self.high


@dataclass(frozen=True)
class SlideScore:
    """The verdict on a slide, or on one piece of it. `shares` and `interval` are None without tumour cells.

    `clusters`: what a biopsy is scored by; there is then no share that decides, and no interval.
    """

    score: Score
    category: Category
    reason: str
    borderline: bool
    shares: Shares | None
    interval: Interval | None
    tumour_cells: int
    clusters: Clusters | None = None


def shares_of(counts: Counts) -> Shares:
    """Return the shares for `counts` (5,) of tumour cells in the order of the cell classes 0, 1, 2i, 2, 3."""
    total = float(counts.sum()) or 1.0
    none, faint, incomplete, moderate, strong = (100.0 * float(count) / total for count in counts)
    return Shares(none, faint, incomplete, moderate, strong)


def score_tiles(counts: Counts, tissue_mm2: float, options: RuleOptions, refusal: str = "") -> SlideScore:
    """Score tumour cells counted per tile, `counts` (T, 5), order 0, 1, 2i, 2, 3; `tissue_mm2` scored tissue.

    Tiles of a classifier come with their weight in the column of their class; `refusal` says why they are too few.
    """
    total = counts.sum(axis=0)
    cells = int(total.sum())
    refusal = refusal or _why_not_evaluable(cells, tissue_mm2, options)
    if total.sum() == 0:
        return SlideScore("not evaluable", "not evaluable", refusal or "no tumour cells", False, None, None, 0)
    shares = shares_of(total)
    verdict = apply_rule(shares, options)
    interval = bootstrap(counts, deciding_quantity(shares, verdict.score), options)
    if refusal:
        return SlideScore("not evaluable", "not evaluable", refusal, False, shares, interval, cells)
    borderline = interval.straddles_cut_off
    return SlideScore(verdict.score, verdict.category, verdict.reason, borderline, shares, interval, cells)


def score_biopsy(counts: Counts, clusters: Clusters, tissue_mm2: float, options: RuleOptions) -> SlideScore:
    """Score the cells of a gastroesophageal biopsy by their largest `clusters`; `counts` (T, 5) as in score_tiles.

    Borderline is a score that clusters half or twice as large would change.
    """
    total = counts.sum(axis=0)
    cells = int(total.sum())
    refusal = _why_not_evaluable(cells, tissue_mm2, options)
    if cells == 0:
        return SlideScore("not evaluable", "not evaluable", refusal or "no tumour cells", False, None, None, 0)
    shares = shares_of(total)
    if refusal:
        return SlideScore("not evaluable", "not evaluable", refusal, False, shares, None, cells, clusters)
    verdict = apply_cluster_rule(clusters, options)
    return SlideScore(*verdict, is_near_cluster_size(clusters, options), shares, None, cells, clusters)


def _why_not_evaluable(cells: int, tissue_mm2: float, options: RuleOptions) -> str:
    """Return why there is too little to score, or nothing."""
    if tissue_mm2 < options.min_tissue_mm2:
        return f"{tissue_mm2:.3f} mm2 of tissue, at least {options.min_tissue_mm2} mm2 needed"
    if cells < options.min_cells:
        return f"{cells} tumour cells, at least {options.min_cells} needed"
    return ""


def bootstrap(counts: Counts, quantity: str, options: RuleOptions) -> Interval:
    """Resample whole tiles, since neighbouring cells are not independent, and return the percentile interval.

    `counts` (T, 5) tumour cells per tile with at least one cell in all; `quantity` names a property of Shares.
    """
    filled = counts[counts.sum(axis=1) > 0]
    weights = {"strong": (0, 0, 0, 0, 1), "complete": (0, 0, 0, 1, 1), "incomplete": (0, 0, 1, 0, 0)}
    chosen = np.array(weights.get(quantity, (0, 1, 1, 1, 1)))
    positive, all_cells = filled @ chosen, filled.sum(axis=1)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    tiles = len(filled)
    ratios = np.empty(options.bootstrap_rounds)
    for start in range(0, options.bootstrap_rounds, 50):
        stop = min(start + 50, options.bootstrap_rounds)
        drawn = generator.integers(0, tiles, (stop - start, tiles))
        ratios[start:stop] = positive[drawn].sum(axis=1) / all_cells[drawn].sum(axis=1)
    tail = 0.5 * (100.0 - options.interval_percent)
    low, high = np.percentile(100.0 * ratios, [tail, 100.0 - tail])
    return Interval(quantity, 100.0 * float(positive.sum()) / float(all_cells.sum()), float(low), float(high))
