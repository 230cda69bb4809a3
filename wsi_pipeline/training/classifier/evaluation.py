"""What a classifier's answers are worth: accuracy, ordinal agreement, confusion, calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.classifier.calibration import log_probabilities

BINS = 15
"""Equal bins of confidence in the calibration error, as in Guo et al. 2017."""


class Answers(NamedTuple):
    """Logits (N, 4) of N tiles, and their labels (N,)."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]


class Evaluation(NamedTuple):
    """Figures of one set of answers; shares are 0-1, NaN where nothing can be said."""

    tiles: int
    accuracy: float
    kappa: float
    """Quadratically weighted."""
    recall: tuple[float, ...]
    """Share of each true class that was named so."""
    cuts: tuple[float, ...]
    """Share on the right side of 0|1+, 1+|2+ and 2+|3+."""
    confusion: NDArray[np.int64]
    """(4, 4); row: true class, column: answer."""
    nll: float
    """Mean cross entropy, natural log."""
    calibration_error: float
    """Expected difference of confidence and accuracy."""


def evaluate(answers: Answers) -> Evaluation:
    """Return the figures of `answers`, which hold at least one tile."""
    named = answers.logits.argmax(axis=1)
    labels, classes = answers.labels, len(HER2_CLASSES)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, named), 1)
    totals = confusion.sum(axis=1)
    recall = tuple(float(confusion[k, k] / totals[k]) if totals[k] else float("nan") for k in range(classes))
    cuts = tuple(float(((named > k) == (labels > k)).mean()) for k in range(classes - 1))
    return Evaluation(
        tiles=len(labels),
        accuracy=float((named == labels).mean()),
        kappa=quadratic_kappa(confusion),
        recall=recall,
        cuts=cuts,
        confusion=confusion,
        nll=-float(log_probabilities(answers.logits)[np.arange(len(labels)), labels].mean()),
        calibration_error=calibration_error(answers),
    )


def quadratic_kappa(confusion: NDArray[np.int64]) -> float:
    """Return Cohen's kappa with quadratic weights (Cohen 1968) of a (K, K) table; NaN where all is one class."""
    places = np.arange(len(confusion), dtype=np.float64)
    weights = (places[:, None] - places[None]) ** 2
    chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / confusion.sum()
    expected = float((weights * chance).sum())
    return 1.0 - float((weights * confusion).sum()) / expected if expected else float("nan")


def calibration_error(answers: Answers, bins: int = BINS) -> float:
    """Return the expected calibration error of the named class, 0-1 (Guo et al. 2017)."""
    confidence = np.exp(log_probabilities(answers.logits).max(axis=1))
    right = answers.logits.argmax(axis=1) == answers.labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = [abs(float((confidence - right)[place == k].sum())) for k in range(bins)]
    return sum(gaps) / len(confidence)
