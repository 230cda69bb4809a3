"""How well the product knows when it is wrong: its sets of scores with their reach chosen on all other sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import Result
from wsi_pipeline.scoring.moved import STEP, STEPS

COVERAGE = 0.8
"""Share of cases whose true score the sets are to hold."""

BEYOND = (STEPS + 1) * STEP
"""Stands for a score that no move gives, doublings."""


OTHER_REASONS = ("unlike", "2+ rests", "the stain is virtual", "cells and tiles are more")
"""How the reasons for low confidence begin that have nothing to do with sets."""


class Scored(NamedTuple):
    """A picture that was scored: its site and case, label (0 to 3) and result."""

    site: str
    case: str
    label: int
    result: Result

    @property
    def needed(self) -> float:
        """How far cut-offs must be moved to give the true score, doublings."""
        return self.result.score_moves.get(HER2_CLASSES[self.label], BEYOND)

    @property
    def right(self) -> bool:
        """Whether the score is the label."""
        return self.result.score == HER2_CLASSES[self.label]

    def confident(self, reach: float) -> bool:
        """Say whether nothing warns, with sets of this reach and all else as the product has it."""
        others = any(reason.startswith(OTHER_REASONS) for reason in self.result.confidence_reasons)
        alone = sum(size <= reach for size in self.result.score_moves.values()) == 1
        return alone and not others and not self.result.borderline


def reach_of(rows: Sequence[Scored]) -> float:
    """Return the reach of a split conformal set: the quantile of what cases needed, of one case more than there are."""
    cases = defaultdict(list)
    for row in rows:
        cases[row.site, row.case].append(row.needed)
    needed = sorted(float(np.mean(values)) for values in cases.values())
    place = ceil(COVERAGE * (len(needed) + 1))
    return needed[place - 1] if place <= len(needed) else BEYOND


def print_doubt(rows: Sequence[Scored]) -> None:
    """Print coverage, sizes of sets and confident scores by site, with the reach of the other sites, by case."""
    print("\n| site | cases scored | reach from the others | sets hold the label | scores a set | right, confident | "
          "wrong, confident |\n|---|---|---|---|---|---|---|")  # fmt: skip
    total = np.zeros(7)
    for site in dict.fromkeys(row.site for row in rows):
        here = [row for row in rows if row.site == site]
        reach = reach_of([row for row in rows if row.site != site])
        count = {case: sum(row.case == case for row in here) for case in {row.case for row in here}}
        sums = np.zeros(7)
        for row in here:
            size = sum(move <= reach for move in row.result.score_moves.values())
            sure = row.confident(reach)
            sums += np.array([1, row.needed <= reach, size, row.right, row.right and sure, not row.right,
                              not row.right and sure]) / count[row.case]  # fmt: skip
        total += sums
        _print_line(site, f"{reach:.2f}", sums)
    _print_line("all", f"all: {reach_of(rows):.2f}", total)


def _print_line(site: str, reach: str, sums: np.ndarray) -> None:
    """Print one line of sums by case."""
    cases, held, sizes, right, right_sure, wrong, wrong_sure = sums
    print(f"| {site} | {cases:.0f} | {reach} | {held:.1f} of {cases:.0f} | {sizes / cases:.1f} | "
          f"{right_sure:.1f} of {right:.1f} | {wrong_sure:.1f} of {wrong:.1f} |")  # fmt: skip
