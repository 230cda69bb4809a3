"""In which order to ask a source: at random, but so that what is costly to prepare is prepared once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reading_order(count: int, block: int, epoch: int, seed: int, batch: int = 1, workers: int = 1) -> NDArray[np.int64]:
    """Return the indices 0 to `count` - 1, each once, in random order (int64).

    Samples of one `block` (neighbouring indices that share a phantom or a decoded file; `source.block`) stay together,
    in random order. Where batches are dealt out to `workers` in turn, as torch's DataLoader does, each worker gets
    whole blocks. A block of 1 is a plain permutation.
    """
    rng = np.random.default_rng([seed, epoch])
    starts = rng.permutation(np.arange(0, count, max(block, 1)))
    blocks = [rng.permutation(np.arange(start, min(start + block, count))) for start in starts]
    lanes = [np.concatenate([*blocks[lane :: max(workers, 1)], _NONE]) for lane in range(max(workers, 1))]
    cuts = [np.split(lane, range(batch, len(lane), batch)) for lane in lanes]
    longest = max(len(lane) for lane in cuts)
    dealt = [lane[turn] for turn in range(longest) for lane in cuts if turn < len(lane)]
    return np.concatenate([*dealt, _NONE])


_NONE = np.zeros(0, dtype=np.int64)
