"""Pairs of H&E and IHC out of a source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.pspstain import SIDE_MULTIPLE
from wsi_pipeline.training.data.records import Source

Pixels = NDArray[np.uint8]


class Pair(NamedTuple):
    """H&E and real IHC of the same tissue, each (H, W, 3) uint8 with sides that are multiples of 4 px."""

    he: Pixels
    ihc: Pixels
    label: int
    """0 to 3, or -1 where unknown."""
    group: str


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the indices 0 to `count` - 1, evenly spread, always the same ones."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def pairs(source: Source, indices: Iterable[int]) -> Iterator[Pair]:
    """Yield the pairs of these samples, as they are in epoch 0.

    Raises UsageError for a sample without H&E, or whose images differ in size.
    """
    for index in indices:
        sample = source.sample(index, 0)
        if sample.he is None:
            raise UsageError(sample.group, f"sample {index} has no H&E", "a stainer needs pairs")
        if sample.he.shape != sample.rgb.shape:
            sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]} px" for image in (sample.he, sample.rgb))
            raise UsageError(
                sample.group, f"sample {index} has H&E and IHC of {sizes}", "both must show the same pixels"
            )
        height, width = (side // SIDE_MULTIPLE * SIDE_MULTIPLE for side in sample.rgb.shape[:2])
        yield Pair(sample.he[:height, :width], sample.rgb[:height, :width], sample.label, sample.group)
