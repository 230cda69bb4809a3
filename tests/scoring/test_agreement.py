"""Agreement statistics against a library, against counts made by hand, and against repeated experiments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_pipeline.scoring.agreement import (
    STATISTICS,
    AgreementOptions,
    accuracy_of,
    agreement,
    confusion_by_patient,
    mean_of,
    resampled,
    weighted_kappa,
)

QUICK = AgreementOptions(rounds=300)

HAND = np.array([[5, 2, 0, 0], [1, 6, 3, 0], [0, 2, 7, 1], [0, 1, 2, 10]], float)
"""Labels by row: 7, 10, 10 and 13 slides; 28 of 40 right, one of them two apart."""


def pairs(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores (N,) with this confusion matrix."""
    row, column = np.indices(matrix.shape)
    times = matrix.astype(int).ravel()
    return np.repeat(row.ravel(), times), np.repeat(column.ravel(), times)


def drawn(seed: int, patients: int, slides: int, hit: float) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return labels, scores and patients; all slides of a patient have its label, and are right or wrong together."""
    generator = np.random.default_rng(seed)
    label = generator.integers(0, 4, patients)
    right = generator.random(patients) < hit
    score = np.where(right, label, (label + generator.integers(1, 4, patients)) % 4)
    names = [f"p{number}" for number in range(patients)]
    return np.repeat(label, slides), np.repeat(score, slides), [name for name in names for _ in range(slides)]


def test_hand_made_counts() -> None:
    label, score = pairs(HAND)
    found = agreement(confusion_by_patient(label, score, [str(number) for number in range(40)]), QUICK)
    expected = {
        # seen: 11 one apart and 1 two apart; by chance, rows 7 10 10 13 times columns 6 11 12 11
        "quadratic kappa": (1 - (11 + 4) * 40 / 3616, 40),
        "linear kappa": (1 - (11 + 2) * 40 / 1892, 40),
        "accuracy, four classes": (28 / 40, 40),
        "at most one category apart": (39 / 40, 40),
        "accuracy 0 | 1+": (37 / 40, 40),
        "accuracy 1+ | 2+": (34 / 40, 40),
        "accuracy 2+ | 3+": (36 / 40, 40),
        "3+ sensitivity": (10 / 13, 13),
        "3+ specificity": (26 / 27, 27),
    }
    for name, (value, count) in expected.items():
        assert (found[name].value, found[name].slides) == (pytest.approx(value), count)
    assert list(found) == list(STATISTICS) == list(expected)


def test_an_interval_is_that_of_the_percentiles_of_what_was_drawn() -> None:
    label, score, patient = drawn(5, 40, 2, 0.8)
    by_patient = confusion_by_patient(label, score, patient)
    found = agreement(by_patient, QUICK)
    sums = resampled(by_patient, QUICK)
    for name, statistic in STATISTICS.items():
        values = [float(statistic(one)) for one in sums]
        low, high = np.percentile(values, [2.5, 97.5])
        assert (found[name].low, found[name].high) == (pytest.approx(low), pytest.approx(high)), name
    narrow = agreement(by_patient, QUICK.model_copy(update={"interval_percent": 50.0}))
    values = STATISTICS["linear kappa"](sums)
    assert narrow["linear kappa"][1:3] == pytest.approx(tuple(np.percentile(values, [25, 75])))


def test_means_weigh_slides_not_patients() -> None:
    found = mean_of(np.array([1.0, 2.0, 6.0]), ["a", "a", "b"], QUICK)
    assert (found.value, found.slides) == (3.0, 3)
    assert (found.low, found.high) == (1.5, 6.0)  # one patient drawn twice


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_kappas_are_those_of_scikit_learn(slides: list[tuple[int, int]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    label, score = np.array(slides).T
    matrix = confusion_by_patient(label, score, ["one"] * len(slides))[0]
    if len(set(label) | set(score)) == 1:  # nothing to agree on: ours says so, the oracle warns
        assert np.isnan(weighted_kappa(matrix, 2))
        return
    for power, weights in ((1, "linear"), (2, "quadratic")):
        oracle = metrics.cohen_kappa_score(label, score, labels=[0, 1, 2, 3], weights=weights)
        assert float(weighted_kappa(matrix, power)) == pytest.approx(oracle, abs=1e-12)
    assert matrix.tolist() == metrics.confusion_matrix(label, score, labels=[0, 1, 2, 3]).tolist()


def test_many_matrices_at_once_are_each_matrix_by_itself() -> None:
    generator = np.random.default_rng(3)
    matrices = generator.integers(0, 9, (25, 4, 4)).astype(float)
    for statistic in STATISTICS.values():
        np.testing.assert_allclose(statistic(matrices), [float(statistic(matrix)) for matrix in matrices])


def test_what_is_not_defined_is_none_and_not_zero() -> None:
    label, score = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    found = agreement(confusion_by_patient(label, score, list("abcd")), QUICK)
    assert found["3+ sensitivity"] == (None, None, None, 0)
    assert found["3+ specificity"].value == 1.0
    nothing = agreement(np.zeros((0, 4, 4)), QUICK)
    assert all(value == (None, None, None, 0) for value in nothing.values())


def test_one_patient_has_no_interval_however_many_slides() -> None:
    label, score = pairs(HAND)
    found = agreement(confusion_by_patient(label, score, ["one"] * 40), QUICK)["accuracy, four classes"]
    assert (found.value, found.low, found.high, found.slides) == (0.7, None, None, 40)


def test_a_rare_statistic_has_no_interval_from_the_few_rounds_that_define_it() -> None:
    patients = [f"p{number}" for number in range(60)]
    label = np.zeros(60, np.int64)
    label[7] = 3  # defined in about 63 % of the rounds
    found = agreement(confusion_by_patient(label, label, patients), QUICK)["3+ sensitivity"]
    assert (found.value, found.slides) == (1.0, 1)
    assert found.low == 1.0
    label[:8], label[8:] = 3, 3
    assert agreement(confusion_by_patient(label, label, patients), QUICK)["3+ specificity"].value is None


def test_the_seed_decides_and_nothing_else() -> None:
    label, score, patient = drawn(1, 30, 2, 0.7)
    by_patient = confusion_by_patient(label, score, patient)
    assert agreement(by_patient, QUICK) == agreement(by_patient, QUICK)
    other = agreement(by_patient, QUICK.model_copy(update={"seed": 4}))["quadratic kappa"]
    assert other != agreement(by_patient, QUICK)["quadratic kappa"]
    order = np.random.default_rng(0).permutation(len(label))
    shuffled = confusion_by_patient(label[order], score[order], [patient[place] for place in order])
    np.testing.assert_array_equal(by_patient, shuffled)


def test_slides_of_one_patient_are_drawn_together() -> None:
    label, score, patient = drawn(2, 40, 5, 0.7)
    together = accuracy_of(confusion_by_patient(label, score, patient), QUICK)
    apart = accuracy_of(confusion_by_patient(label, score, [str(number) for number in range(200)]), QUICK)
    assert None not in together
    assert None not in apart
    width, narrow = together.high - together.low, apart.high - apart.low
    assert together.value == apart.value
    assert 1.8 < width / narrow < 2.7  # 5 ** 0.5 = 2.24


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    for seed in range(120):
        label, score, patient = drawn(seed, 40, 3, 0.75)
        found = accuracy_of(confusion_by_patient(label, score, patient), AgreementOptions(rounds=200))
        hits += found.low <= 0.75 <= found.high
    assert 0.86 <= hits / 120 <= 0.99


def test_resampling_keeps_the_number_of_patients() -> None:
    sums = resampled(np.ones((17, 3)), QUICK)
    assert sums.shape == (300, 3)
    assert (sums == 17).all()


def test_means_over_slides_with_patients_drawn() -> None:
    found = mean_of(np.array([1.0, 3.0, 8.0]), ["a", "a", "b"], QUICK)
    assert found.value == 4.0
    assert (found.low, found.high) == (2.0, 8.0)
    assert mean_of(np.zeros(0), [], QUICK) == (None, None, None, 0)
