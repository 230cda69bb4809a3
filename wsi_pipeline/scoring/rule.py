"""The ASCO/CAP rule (2018, affirmed 2023) on shares of invasive tumour cells, and the HER2-low vocabulary.

Wolff et al. 2018, J Clin Oncol 36:2105; affirmed Wolff et al. 2023, J Clin Oncol 41:3867. Ultralow as in
DESTINY-Breast06 (Bardia et al. 2024, N Engl J Med 391:2110): score 0 with faint membrane staining in at most 10 %.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Score = Literal["0", "1+", "2+", "3+", "not evaluable"]
Category = Literal["null", "ultralow", "low", "equivocal", "positive", "not evaluable"]

CUT_OFF_PERCENT = 10.0
"""The guideline's one cut-off; every comparison with it is strict."""


class RuleOptions(BaseModel):
    """Design choices where the guideline is silent; each is part of the record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strong_noise_percent: float = Field(
        1.0, ge=0, description="3+ cells up to this share are measurement noise, not '0 < p3', percent"
    )
    staining_noise_percent: float = Field(
        2.0, ge=0, description="stained cells up to this share are measurement noise, not ultralow, percent"
    )
    min_cells: int = Field(100, ge=1, description="fewer tumour cells are not evaluable")
    min_tiles: int = Field(10, ge=1, description="fewer classified tiles are no evidence of their own")
    min_tissue_mm2: float = Field(0.02, ge=0, description="less tissue is not evaluable, mm2")
    bootstrap_rounds: int = Field(1000, ge=100, description="resamplings of tiles behind the interval")
    interval_percent: float = Field(95.0, gt=0, lt=100, description="coverage of the interval, percent")


class Shares(NamedTuple):
    """Shares of tumour cells by class, percent; they sum to 100 (or are all 0 without cells)."""

    none: float
    faint: float
    incomplete: float
    moderate: float
    strong: float

    @property
    def complete(self) -> float:
        """Share with complete staining (classes 2 and 3), percent: the cumulative reading of '2+ or more'."""
        return self.strong + self.moderate

    @property
    def stained(self) -> float:
        """Share with any membrane staining, percent."""
        return self.strong + self.moderate + self.incomplete + self.faint

    @property
    def h_score(self) -> float:
        """H-score 0-300: 1 * %1+ + 2 * (%2+ and incomplete moderate) + 3 * %3+."""
        return self.faint + 2 * (self.moderate + self.incomplete) + 3 * self.strong


class Verdict(NamedTuple):
    """Score, its category, and the condition that held."""

    score: Score
    category: Category
    reason: str


def apply_rule(shares: Shares, options: RuleOptions) -> Verdict:
    """Apply the first condition that holds, from 3+ down to null."""
    cut = CUT_OFF_PERCENT
    conditions = (
        (shares.strong > cut, Verdict("3+", "positive", "complete intense staining in more than 10 %")),
        (shares.complete > cut, Verdict("2+", "equivocal", "complete weak to moderate staining in more than 10 %")),
        (
            shares.strong > options.strong_noise_percent,
            Verdict("2+", "equivocal", "complete intense staining in at most 10 %"),
        ),
        (shares.incomplete > cut, Verdict("2+", "equivocal", "incomplete moderate staining in more than 10 %")),
        (shares.stained > cut, Verdict("1+", "low", "incomplete faint staining in more than 10 %")),
        (shares.stained > options.staining_noise_percent, Verdict("0", "ultralow", "staining in at most 10 %")),
    )
    nothing = Verdict("0", "null", "no staining above the noise floor")
    return next((verdict for holds, verdict in conditions if holds), nothing)


def deciding_quantity(shares: Shares, score: Score) -> str:
    """Name the share that lies nearest to the 10 % at which `score` would change.

    A score has passed the cut-off below it and failed the one above; whichever of the two is nearer to 10 % decides.
    """
    lower = "complete" if shares.complete >= shares.incomplete else "incomplete"
    quantities = {
        "3+": ["strong"],
        "2+": ["strong", lower],
        "1+": [lower, "stained"],
        "0": ["stained"],
    }.get(score, ["stained"])
    return min(quantities, key=lambda name: abs(getattr(shares, name) - CUT_OFF_PERCENT))
