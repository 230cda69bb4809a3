"""Agreement of scores with labels: kappas, accuracies, sensitivity, and intervals from resampled patients.

Every statistic is a function of the confusion matrix, so that thousands of resampled matrices are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

CLASSES = 4
"""Scores 0, 1+, 2+ and 3+, in that order."""

Floats = NDArray[np.float64]
"""Confusion matrices are (..., 4, 4) of this type: labels by row, scores by column, slides counted."""

Statistic = Callable[[Floats], Floats]
"""From matrices (..., 4, 4) to values (...); nan where a value is not defined."""

LEAST_DEFINED = 0.5
"""Share of the resamplings in which a statistic must be defined for its interval to be given."""


class AgreementOptions(BaseModel):
    """How intervals are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(2000, ge=100, le=100_000, description="resamplings of patients behind each interval")
    seed: int = Field(20231, ge=0, description="of the resampling; the same seed gives the same intervals")
    interval_percent: float = Field(95.0, gt=0, lt=100, description="coverage of the intervals, percent")


class Estimate(NamedTuple):
    """A statistic, its percentile interval, and how many slides it rests on; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    slides: int


def confusion_by_patient(label: NDArray[np.int64], score: NDArray[np.int64], patient: Sequence[str]) -> Floats:
    """Return a confusion matrix for each patient, (P, 4, 4), from classes 0 to 3 of N slides and their patients."""
    names, row = np.unique(np.asarray(patient, dtype=np.str_), return_inverse=True)
    matrices = np.zeros((len(names), CLASSES, CLASSES))
    np.add.at(matrices, (row, label, score), 1.0)
    return matrices


def weighted_kappa(matrix: Floats, power: int) -> Floats:
    """Return Cohen's kappa with weights |i - j| ** `power`: 1 linear, 2 quadratic (Cohen 1968, Psychol Bull 70:213)."""
    place = np.arange(CLASSES)
    weight = np.abs(place[:, None] - place[None, :]).astype(np.float64) ** power
    total = matrix.sum(axis=(-2, -1))
    by_chance = matrix.sum(axis=-1)[..., :, None] * matrix.sum(axis=-2)[..., None, :]
    seen, expected = (weight * matrix).sum(axis=(-2, -1)), (weight * by_chance).sum(axis=(-2, -1))
    return 1.0 - _ratio(seen * total, expected)


def accuracy(matrix: Floats, most_apart: int = 0) -> Floats:
    """Return the share of slides whose score is at most `most_apart` categories from the label."""
    place = np.arange(CLASSES)
    near = np.abs(place[:, None] - place[None, :]) <= most_apart
    return _ratio((matrix * near).sum(axis=(-2, -1)), matrix.sum(axis=(-2, -1)))


def accuracy_at(matrix: Floats, cut: int) -> Floats:
    """Return the share of slides on the right side of the cut-off below class `cut`."""
    above = np.arange(CLASSES) >= cut
    same = above[:, None] == above[None, :]
    return _ratio((matrix * same).sum(axis=(-2, -1)), matrix.sum(axis=(-2, -1)))


def sensitivity(matrix: Floats) -> Floats:
    """Return the share of the slides labelled 3+ that score 3+."""
    return _ratio(matrix[..., -1, -1], matrix[..., -1, :].sum(axis=-1))


def specificity(matrix: Floats) -> Floats:
    """Return the share of the slides not labelled 3+ that do not score 3+."""
    return _ratio(matrix[..., :-1, :-1].sum(axis=(-2, -1)), matrix[..., :-1, :].sum(axis=(-2, -1)))


STATISTICS: Mapping[str, Statistic] = {
    "quadratic kappa": lambda matrix: weighted_kappa(matrix, 2),
    "linear kappa": lambda matrix: weighted_kappa(matrix, 1),
    "accuracy, four classes": accuracy,
    "at most one category apart": lambda matrix: accuracy(matrix, 1),
    "accuracy 0 | 1+": lambda matrix: accuracy_at(matrix, 1),
    "accuracy 1+ | 2+": lambda matrix: accuracy_at(matrix, 2),
    "accuracy 2+ | 3+": lambda matrix: accuracy_at(matrix, 3),
    "3+ sensitivity": sensitivity,
    "3+ specificity": specificity,
}
"""Name -> statistic, in the order of the reports."""


def agreement(by_patient: Floats, options: AgreementOptions) -> dict[str, Estimate]:
    """Return every statistic of confusion matrices by patient (P, 4, 4), with its interval."""
    total = by_patient.sum(axis=0)
    drawn = resampled(by_patient, options)
    return {
        name: estimate(float(statistic(total)), statistic(drawn), _slides_behind(name, total), options)
        for name, statistic in STATISTICS.items()
    }


def accuracy_of(by_patient: Floats, options: AgreementOptions) -> Estimate:
    """Return the four-class accuracy of confusion matrices by patient (P, 4, 4), with its interval."""
    total = by_patient.sum(axis=0)
    return estimate(float(accuracy(total)), accuracy(resampled(by_patient, options)), int(total.sum()), options)


def mean_of(values: Floats, patient: Sequence[str], options: AgreementOptions) -> Estimate:
    """Return the mean of `values` (N,) of slides with its interval; patients are resampled."""
    if len(values) == 0:
        return Estimate(None, None, None, 0)
    names, row = np.unique(np.asarray(patient, dtype=np.str_), return_inverse=True)
    sums = np.stack(
        [np.bincount(row, values, len(names)), np.bincount(row, minlength=len(names)).astype(np.float64)], axis=1
    )
    drawn = resampled(sums, options)
    return estimate(float(values.mean()), _ratio(drawn[:, 0], drawn[:, 1]), len(values), options)


def resampled(per_patient: Floats, options: AgreementOptions) -> Floats:
    """Return sums over as many patients as there are, drawn with replacement: (P, ...) -> (rounds, ...).

    Whole patients are drawn, since slides of one patient are not independent. Fewer than two give nothing: (0, ...).
    """
    patients = len(per_patient)
    if patients < 2:
        return np.zeros((0, *per_patient.shape[1:]))
    generator = np.random.default_rng(options.seed)
    flat = per_patient.reshape(patients, -1)
    found = np.empty((options.rounds, flat.shape[1]))
    for start in range(0, options.rounds, 100):
        stop = min(start + 100, options.rounds)
        times = generator.multinomial(patients, np.full(patients, 1.0 / patients), stop - start)
        found[start:stop] = times @ flat
    return found.reshape(options.rounds, *per_patient.shape[1:])


def estimate(value: float, drawn: Floats, count: int, options: AgreementOptions) -> Estimate:
    """Return `value` with the percentile interval of its resampled values `drawn` (rounds,), where both are defined."""
    if not np.isfinite(value):
        return Estimate(None, None, None, count)
    defined = drawn[np.isfinite(drawn)]
    if len(defined) == 0 or len(defined) < LEAST_DEFINED * len(drawn):
        return Estimate(value, None, None, count)
    tail = 0.5 * (100.0 - options.interval_percent)
    low, high = np.percentile(defined, [tail, 100.0 - tail])
    return Estimate(value, float(low), float(high), count)


def _slides_behind(name: str, total: Floats) -> int:
    """Return how many slides a statistic is a share of."""
    rows = {"3+ sensitivity": slice(-1, None), "3+ specificity": slice(0, -1)}.get(name, slice(None))
    return int(total[rows].sum())


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, nan where the whole is 0."""
    nothing = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=nothing, where=np.asarray(whole) > 0), dtype=np.float64)
