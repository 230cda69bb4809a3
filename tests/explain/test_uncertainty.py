"""Probabilities and entropy, also of logits that no exponential can hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax as scipy_softmax
from scipy.stats import entropy as scipy_entropy

from wsi_pipeline.explain.uncertainty import entropy_bits, softmax

LOGITS = hnp.arrays(np.float64, (3, 4), elements=st.floats(-60, 60))


@given(LOGITS)
def test_agrees_with_scipy(logits: np.ndarray) -> None:
    probabilities = scipy_softmax(logits, axis=1)
    assert np.allclose(softmax(logits), probabilities, rtol=1e-12, atol=1e-300)
    assert np.allclose(entropy_bits(logits), scipy_entropy(probabilities, base=2, axis=1), rtol=1e-9, atol=1e-12)


@given(hnp.arrays(np.float32, (5, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_is_finite_and_bounded_for_any_logits(logits: np.ndarray) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        probabilities, bits = softmax(logits), entropy_bits(logits)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert ((bits >= 0) & (bits <= 2)).all()


@given(LOGITS, st.floats(-1000, 1000))
def test_only_differences_count(logits: np.ndarray, shift: float) -> None:
    assert np.allclose(entropy_bits(logits + shift), entropy_bits(logits), atol=1e-9)


@pytest.mark.parametrize(
    ("logits", "bits"),
    [((7, 7, 7, 7), 2.0), ((0, 0, -1e4, -1e4), 1.0), ((0, 1e4, 0, 0), 0.0), ((3, 3, 3, -1e4), np.log2(3))],
)
def test_known_entropies(logits: tuple[float, ...], bits: float) -> None:
    assert float(entropy_bits(np.array(logits))) == pytest.approx(bits, abs=1e-12)


def test_shapes() -> None:
    assert entropy_bits(np.zeros((0, 4))).shape == (0,)
    assert softmax(np.zeros((2, 3, 4), np.float32)).shape == (2, 3, 4)
