"""How sure a tile's class is: probabilities and their entropy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.floating]
"""(..., classes), of any float kind."""


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return the probabilities of `logits` (..., classes), same shape, float64; they add up to 1."""
    shares = np.exp(_shifted(logits))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def entropy_bits(logits: Logits) -> NDArray[np.float64]:
    """Return Shannon's entropy of the probabilities of `logits` (..., classes), (...) float64, bits.

    0 when one class is certain; 2 when four classes are equally likely. It says how undecided the network is, not
    how often it is wrong: that needs calibration on labelled tiles.
    """
    shifted = _shifted(logits)
    shares = np.exp(shifted)
    total = shares.sum(axis=-1)
    # -sum p ln p with ln p = shifted - ln(total): no logarithm of a probability that has become 0
    nats = np.log(total) - (shares * shifted).sum(axis=-1) / total
    return np.asarray(np.clip(nats / np.log(2), 0.0, np.log2(shifted.shape[-1])))


def _shifted(logits: Logits) -> NDArray[np.float64]:
    """Return `logits` less the largest of each row, so that no exponential overflows."""
    exact = np.asarray(logits, dtype=np.float64)
    return np.asarray(exact - exact.max(axis=-1, keepdims=True))
