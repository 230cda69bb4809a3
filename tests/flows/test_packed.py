"""Tasks travel small, and arrive as they were."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from wsi_pipeline.flows.packed import PackedTask


@dataclass(frozen=True)
class Masked(PackedTask):
    """A task with masks."""

    number: int
    allowed: NDArray[np.bool_]
    piece: NDArray[np.uint16]


def arrived(task: Masked) -> Masked:
    """Return what a worker gets of a task."""
    there = pickle.loads(pickle.dumps(task))  # noqa: S301 - our own
    assert isinstance(there, Masked)
    return there


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(0, 9), st.integers(0, 13))),
    arrays.arrays(np.uint16, st.tuples(st.integers(0, 9), st.integers(0, 13))),
)
def test_what_arrives_is_what_was_sent(allowed: NDArray[np.bool_], piece: NDArray[np.uint16]) -> None:
    there = arrived(Masked(7, allowed, piece.T))
    assert (there.number, there.allowed.dtype, there.piece.dtype) == (7, np.bool_, np.uint16)
    assert np.array_equal(there.allowed, allowed)
    assert np.array_equal(there.piece, piece.T)


def test_a_task_is_small() -> None:
    rows, columns = np.ogrid[:256, :240]
    tissue = (rows - 90) ** 2 + (columns - 130) ** 2 < 100**2
    sent = pickle.dumps(Masked(7, tissue, np.where(tissue, 3, 0).astype(np.uint16)))
    assert len(sent) < 4_000


def test_what_arrives_may_be_written_to() -> None:
    there = arrived(Masked(7, np.zeros((3, 5), bool), np.ones((3, 5), np.uint16)))
    there.allowed[1, 2] = True
    assert there.allowed.sum() == 1
