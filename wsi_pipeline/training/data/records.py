"""What training is fed with: patches on disk, samples in memory, and whatever yields them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Patch:
    """One image of a data set, and what is known of it."""

    path: Path
    """The IHC image, or the only one."""
    label: int | None
    """HER2 class 0 to 3 (0, 1+, 2+, 3+), of the patch or of its whole slide; None where unknown."""
    slide: str
    """Patches of one slide never straddle a split."""
    patient: str
    """Nor do those of one patient; the slide where nothing is known of the patient."""
    he: Path | None = None
    """The H&E image of the same tissue and size."""
    split: Split | None = None
    """Where the layout puts it; None where that is to be decided."""
    synthetic: bool = False
    """Made by a generator: such images never enter validation or test."""


class Sample(NamedTuple):
    """One training example."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) IHC."""
    label: int
    """0 to 3, or -1 where unknown."""
    he: NDArray[np.uint8] | None
    """(H, W, 3) H&E of the same pixels."""
    group: str
    """Slide, or phantom, that it comes from."""


class Source(Protocol):
    """Samples by number; the same number and epoch always give the same pixels, whoever asks and in whatever order."""

    def __len__(self) -> int:
        """Return how many samples an epoch has."""
        ...

    def sample(self, index: int, epoch: int) -> Sample:
        """Return one sample; `epoch` varies crops and augmentation."""
        ...
