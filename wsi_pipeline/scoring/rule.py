"""The rules by tumour: shares of invasive tumour cells, or clusters of them, to a score and its category.

Breast: ASCO/CAP 2018 (Wolff et al., J Clin Oncol 36:2105), affirmed 2023 (J Clin Oncol 41:3867), with the HER2-low
vocabulary; ultralow as in DESTINY-Breast06 (Bardia et al. 2024, N Engl J Med 391:2110): score 0 with faint membrane
staining in at most 10 %. Gastroesophageal: CAP/ASCP/ASCO 2016 (Bartley et al., J Clin Oncol 35:446), after Hofmann et
al. 2008 (Histopathology 52:797): lateral and basolateral staining counts like complete staining, and a biopsy is scored
by a cluster of stained cells whatever their share. Low and ultralow are words for breast cancer alone.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Score = Literal["0", "1+", "2+", "3+", "not evaluable"]
Category = Literal["null", "ultralow", "low", "negative", "equivocal", "positive", "not evaluable"]
Tumour = Literal["breast", "gastroesophageal"]
Specimen = Literal["resection", "biopsy"]

CUT_OFF_PERCENT = 10.0
"""The one cut-off of both guidelines: in breast it must be passed, in a gastroesophageal resection reached."""

NAMES: dict[Tumour, str] = {
    "breast": "ASCO/CAP 2018, affirmed 2023",
    "gastroesophageal": "CAP/ASCP/ASCO 2016",
}
"""The guideline of each tumour."""

EPSILON = 1e-9
"""Sums of shares are this far off their exact values at most, percent, so that 3 + 7 % is 10 %."""


class RuleOptions(BaseModel):
    """Which rule, and design choices where the guideline is silent; each is part of the record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tumour: Tumour = Field("breast", description="the tumour whose rule is applied")
    specimen: Specimen = Field(
        "resection", description="of a gastroesophageal tumour; breast cancer has one rule for both"
    )
    cluster_cells: int = Field(5, ge=2, description="stained cells that make a cluster in a biopsy (Bartley 2016)")
    cluster_um: float = Field(
        14.0,
        gt=0,
        description="cells of a cluster are at most this far from the next, um (a large tumour cell's width)",
    )
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

    @property
    def counts_lateral(self) -> bool:
        """Whether lateral and basolateral staining counts like complete staining."""
        return self.tumour == "gastroesophageal"

    @property
    def by_clusters(self) -> bool:
        """Whether a cluster of cells decides, whatever its share."""
        return self.tumour == "gastroesophageal" and self.specimen == "biopsy"

    @property
    def guideline(self) -> str:
        """Name of the guideline."""
        return NAMES[self.tumour]

    @property
    def described(self) -> str:
        """The tumour, and the specimen where the rule depends on it."""
        return self.tumour if self.tumour == "breast" else f"{self.tumour}, {self.specimen}"


class Shares(NamedTuple):
    """Shares of tumour cells by class, percent; they sum to 100 (or are all 0 without cells)."""

    none: float
    faint: float
    incomplete: float
    moderate: float
    strong: float

    @property
    def complete(self) -> float:
        """Share of classes 2 and 3, percent: the cumulative reading of '2+ or more'.

        Complete staining; in gastroesophageal tumours lateral and basolateral staining too.
        """
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


class Clusters(NamedTuple):
    """Cells in the largest cluster whose cells are all at least faintly, moderately and strongly stained."""

    faint: int
    moderate: int
    strong: int


def apply_rule(shares: Shares, options: RuleOptions) -> Verdict:
    """Apply the first condition that holds, from 3+ down, to shares: of breast cancer, or of a resection."""
    return _breast(shares, options) if options.tumour == "breast" else _resection(shares)


def _breast(shares: Shares, options: RuleOptions) -> Verdict:
    """Apply ASCO/CAP 2018 and the words for what is below 2+."""
    cut = CUT_OFF_PERCENT + EPSILON
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


def rests_on_incomplete(shares: Shares) -> bool:
    """Tell whether shares pass a cut-off for 2+ by incomplete moderate staining alone, which is a choice of ours."""
    return shares.incomplete > CUT_OFF_PERCENT + EPSILON >= shares.complete


def _resection(shares: Shares) -> Verdict:
    """Apply CAP/ASCP/ASCO 2016 to a gastroesophageal resection: 10 % are enough."""
    cut, pattern = CUT_OFF_PERCENT - EPSILON, "complete, basolateral or lateral staining"
    conditions = (
        (shares.strong >= cut, Verdict("3+", "positive", f"strong {pattern} in at least 10 %")),
        (shares.complete >= cut, Verdict("2+", "equivocal", f"weak to moderate {pattern} in at least 10 %")),
        (shares.stained >= cut, Verdict("1+", "negative", "faint or partial staining in at least 10 %")),
    )
    less = Verdict("0", "negative", "membrane staining in less than 10 %")
    return next((verdict for holds, verdict in conditions if holds), less)


def apply_cluster_rule(clusters: Clusters, options: RuleOptions) -> Verdict:
    """Apply CAP/ASCP/ASCO 2016 to a gastroesophageal biopsy: one cluster is enough, whatever its share."""
    least, pattern = options.cluster_cells, "complete, basolateral or lateral staining"
    conditions = (
        (clusters.strong, Verdict("3+", "positive", f"a cluster of {clusters.strong} cells with strong {pattern}")),
        (
            clusters.moderate,
            Verdict("2+", "equivocal", f"a cluster of {clusters.moderate} cells with weak to moderate {pattern}"),
        ),
        (
            clusters.faint,
            Verdict("1+", "negative", f"a cluster of {clusters.faint} cells with faint or partial staining"),
        ),
    )
    nothing = Verdict("0", "negative", f"no cluster of {least} stained cells")
    return next((verdict for cells, verdict in conditions if cells >= least), nothing)


def is_near_cluster_size(clusters: Clusters, options: RuleOptions) -> bool:
    """Tell whether a cluster half or twice as large would change the score: one cell missed or found in excess may.

    A design choice: there is no share whose interval could be taken.
    """
    score = apply_cluster_rule(clusters, options).score
    halved, doubled = (Clusters(*(int(cells * factor) for cells in clusters)) for factor in (0.5, 2.0))
    return any(apply_cluster_rule(other, options).score != score for other in (halved, doubled))


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
