"""Training and validation tiles of both classifiers, checked one by one as they are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.data.patches import PatchSource
from wsi_pipeline.training.data.records import Sample, Split
from wsi_pipeline.training.study.guard import require_place


class StudyTiles:
    """Implements `Source`: tiles of real patches and, in training, of accepted synthetic ones.

    An epoch has as many samples of each class as there are real ones, whatever is added: so both classifiers take the
    same number of steps with the same mix of classes, and differ in their material alone. The samples of a class take
    turns over the epochs, real and synthetic in one seeded order.
    """

    def __init__(self, role: Split, real: PatchSource, made: PatchSource | None = None, seed: int = 0) -> None:
        """Use `real` and `made` tiles, all with labels, as `role`."""
        self._role, self._real, self._made = role, real, made
        self._labels = real.labels()
        added = made.labels() if made is not None else np.zeros(0, np.int64)
        everything = np.concatenate([self._labels, added])
        rng = np.random.default_rng(seed)
        self._pools = {int(label): rng.permutation(np.flatnonzero(everything == label)) for label in range(4)}
        self._counts = {label: int((self._labels == label).sum()) for label in self._pools}
        self._ranks = np.zeros(len(self._labels), np.int64)
        for label in self._pools:
            members = np.flatnonzero(self._labels == label)
            self._ranks[members] = np.arange(len(members))

    def __len__(self) -> int:
        """Return how many samples an epoch has: as many as there are real tiles."""
        return len(self._labels)

    def labels(self) -> NDArray[np.int64]:
        """Label of every index, (N,) int64; the same in every epoch."""
        return self._labels

    def sample(self, index: int, epoch: int) -> Sample:
        """Return one tile. Raises UsageError naming the image when it may not be used here."""
        label = int(self._labels[index])
        pool = self._pools[label]
        place = int(pool[(int(self._ranks[index]) + epoch * self._counts[label]) % len(pool)])
        source = self._real
        if place >= len(self._labels) and self._made is not None:
            source, place = self._made, place - len(self._labels)
        require_place(source.patches[place // source.options.crops], self._role)
        return source.sample(place, epoch)
