"""In which order a source is asked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.training.data.order import reading_order


@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 9), st.integers(1, 13), st.integers(1, 5))
def test_every_index_comes_once(count: int, block: int, epoch: int, batch: int, workers: int) -> None:
    order = reading_order(count, block, epoch, 7, batch, workers)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, reading_order(count, block, epoch, 7, batch, workers))


def test_blocks_stay_together_and_epochs_differ() -> None:
    first, second = (reading_order(103, 10, epoch, 0) for epoch in (0, 1))
    assert first.tolist() != second.tolist()
    assert np.count_nonzero(np.diff(first // 10)) == 10


def test_a_worker_gets_whole_blocks() -> None:
    order = reading_order(96, 12, 0, 0, batch=4, workers=2)
    batches = order.reshape(-1, 4)
    blocks_of = [set((batches[worker::2] // 12).ravel().tolist()) for worker in (0, 1)]
    assert blocks_of[0].isdisjoint(blocks_of[1])
    assert len(blocks_of[0]) == len(blocks_of[1]) == 4
