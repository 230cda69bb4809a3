"""The search for cut-offs: coarse grid, then refinement, on cells that are measured already.

What is minimised is the ordinal error of the scores, a little for scores that lie near the 10 % at which they would
change, and a prior that holds the cut-offs at the start profile, so that few labels do not swing them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.flows.calibrate_measure import CellPool
from wsi_pipeline.scoring.evidence import SCORES
from wsi_pipeline.scoring.rule import CUT_OFF_PERCENT, RuleOptions, Shares, apply_rule, deciding_quantity
from wsi_pipeline.scoring.slide_score import shares_of

Floats = NDArray[np.float64]

DIGITS = 3
"""Decimals of a cut-off: what is tried is what is written."""


class FitOptions(BaseModel):
    """How hard the labels pull against the start profile; the unit is one image wrong by one category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    faint_factors: tuple[float, ...] = Field(
        (1.0, 0.71, 0.5, 1.41), description="heights of a membrane ridge that are tried, times the start's"
    )
    margin_points: float = Field(5.0, gt=0, description="a share this far from the cut-off is safe, points of percent")
    margin_weight: float = Field(0.5, ge=0, description="cost of a right score whose deciding share is at the cut-off")
    scale_weight: float = Field(0.5, ge=0, description="cost of halving or doubling all OD cut-offs together")
    own_weight: float = Field(1.0, ge=0, description="cost of one OD cut-off at half or double of where the others are")
    share_weight: float = Field(0.5, ge=0, description="cost of moving a completeness cut-off by 0.1")
    largest_log2: float = Field(2.0, gt=0, description="OD cut-offs stay within this many doublings of the start's")


class Cutoffs(NamedTuple):
    """The fields of an AssayProfile that are fitted."""

    faint: float
    moderate: float
    intense: float
    stained: float
    complete: float

    @classmethod
    def of(cls, assay: AssayProfile) -> Cutoffs:
        """Return those of a profile."""
        return cls(*(getattr(assay, name) for name in cls._fields))

    def moved(self, scale: float, intense: float, stained: float, complete: float, *, moderate: float = 0.0) -> Cutoffs:
        """Return cut-offs moved by doublings (`scale` for both densities) and by shares; `faint` stays."""
        return Cutoffs(
            self.faint,
            round(self.moderate * 2 ** (scale + moderate), DIGITS),
            round(self.intense * 2 ** (scale + intense), DIGITS),
            round(self.stained + stained, DIGITS),
            round(self.complete + complete, DIGITS),
        )


class Search:
    """Finds the cut-offs that suit any choice of the labelled images; what was computed once is remembered."""

    def __init__(
        self, start: AssayProfile, pools: Mapping[float, CellPool], labels: NDArray[np.int64], rule: RuleOptions,
        options: FitOptions,
    ) -> None:  # fmt: skip
        """Search around `start` on `pools` (faint -> cells of M images) with `labels` (M,), classes 0 to 3."""
        self._start, self._rule, self._options = start, rule, options
        self._pools, self._labels = pools, labels
        self._known: dict[Cutoffs, tuple[NDArray[np.int64], Floats]] = {}
        self._coarse = [cutoffs for cutoffs in self._grid() if self._allowed(cutoffs)]

    def assay(self, cutoffs: Cutoffs) -> AssayProfile:
        """Return the start profile with these cut-offs."""
        return self._start.model_copy(update=cutoffs._asdict())

    def scores(self, cutoffs: Cutoffs) -> NDArray[np.int64]:
        """Return the class 0 to 3 of each image under these cut-offs, by the project's rule."""
        return self._judged(cutoffs)[0]

    def fit(self, chosen: NDArray[np.bool_]) -> Cutoffs:
        """Return the best cut-offs for the images where `chosen` (M,) is true."""
        by_cost = sorted(self._coarse, key=lambda cutoffs: self._key(cutoffs, chosen))
        return min((self._refined(begin, chosen) for begin in by_cost[:3]), key=lambda found: self._key(found, chosen))

    def cost(self, cutoffs: Cutoffs, chosen: NDArray[np.bool_]) -> float:
        """Return what is minimised: the images' losses and the prior."""
        return float(self._judged(cutoffs)[1][chosen].sum()) + self.prior(cutoffs)

    def prior(self, cutoffs: Cutoffs) -> float:
        """Return what it costs to leave the start profile; a lab that stains weaker moves all densities together."""
        options, start = self._options, Cutoffs.of(self._start)
        steps = [log2(new / old) for new, old in zip(cutoffs[:3], start[:3], strict=True)]
        scale = sum(steps) / len(steps)
        own = sum((step - scale) ** 2 for step in steps)
        shares = sum(((new - old) / 0.1) ** 2 for new, old in zip(cutoffs[3:], start[3:], strict=True))
        return options.scale_weight * scale**2 + options.own_weight * own + options.share_weight * shares

    def _key(self, cutoffs: Cutoffs, chosen: NDArray[np.bool_]) -> tuple[float, float, Cutoffs]:
        """Return what candidates are ordered by: cost, then nearness to the start, then their values."""
        return round(self.cost(cutoffs, chosen), 9), self.prior(cutoffs), cutoffs

    def _judged(self, cutoffs: Cutoffs) -> tuple[NDArray[np.int64], Floats]:
        """Return class and loss of each image, (M,)."""
        if cutoffs not in self._known:
            counts = self._pools[cutoffs.faint].counts(self.assay(cutoffs))
            found = [self._judge(shares_of(row), int(label)) for row, label in zip(counts, self._labels, strict=True)]
            scores, losses = zip(*found, strict=True)
            self._known[cutoffs] = np.array(scores, dtype=np.int64), np.array(losses, dtype=np.float64)
        return self._known[cutoffs]

    def _judge(self, shares: Shares, label: int) -> tuple[int, float]:
        """Return the class of one image by the rule, and its loss: categories apart, and what is not safe."""
        verdict = apply_rule(shares, self._rule)
        score = SCORES.index(verdict.score)
        distance = abs(getattr(shares, deciding_quantity(shares, verdict.score)) - CUT_OFF_PERCENT)
        safety = min(distance / self._options.margin_points, 1.0)
        unsafe = 1.0 - safety if score == label else 1.0 + safety
        return score, abs(score - label) + self._options.margin_weight * unsafe

    def _grid(self) -> Iterator[Cutoffs]:
        """Yield the coarse grid: every density scale at every height of a membrane ridge."""
        most = self._options.largest_log2
        scales = np.arange(-most, most + 0.01, 0.5).tolist()
        for faint, scale, intense, complete in product(self._pools, scales, (0.0, -0.5, 0.5), (0.0, -0.12, 0.08)):
            yield Cutoffs.of(self._start)._replace(faint=faint).moved(scale, intense, 0.0, complete)

    def _refined(self, begin: Cutoffs, chosen: NDArray[np.bool_]) -> Cutoffs:
        """Return the end of a descent by single steps that are halved when none helps."""
        best, doublings, share = begin, 0.25, 0.06
        while doublings > 0.05:
            near = [cutoffs for cutoffs in self._neighbours(best, doublings, share) if self._allowed(cutoffs)]
            found = min(near, key=lambda cutoffs: self._key(cutoffs, chosen), default=best)
            if self._key(found, chosen) < self._key(best, chosen):
                best = found
            else:
                doublings, share = doublings / 2, share / 2
        return best

    def _neighbours(self, at: Cutoffs, doublings: float, share: float) -> Iterator[Cutoffs]:
        """Yield cut-offs one step away in each direction."""
        for sign in (1, -1):
            yield at.moved(sign * doublings, 0, 0, 0)
            yield at.moved(0, sign * doublings, 0, 0)
            yield at.moved(0, 0, 0, 0, moderate=sign * doublings)
            yield at.moved(0, 0, sign * share, 0)
            yield at.moved(0, 0, 0, sign * share)
        for faint in self._pools:
            if faint != at.faint:
                yield at._replace(faint=faint)

    def _allowed(self, cutoffs: Cutoffs) -> bool:
        """Say whether the cut-offs keep their order and stay in reach of the start."""
        start, most = Cutoffs.of(self._start), self._options.largest_log2 + 1e-6
        ordered = cutoffs.faint < cutoffs.moderate < cutoffs.intense and 0 < cutoffs.stained < cutoffs.complete <= 1
        return ordered and all(
            abs(log2(new / old)) <= most for new, old in zip(cutoffs[1:3], start[1:3], strict=True)
        )  # fmt: skip
