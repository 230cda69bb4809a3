"""Batches of samples in a seeded order that depends on nothing but the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.order import reading_order
from wsi_pipeline.training.data.records import Sample, Source

REPEAT_STRIDE = 1_000_000
"""Added to the epoch number each time a sample is shown again in one epoch, so that it is augmented differently."""

KEPT_BYTES = 2**30
"""Pixels of validation kept in memory: 1 GiB is 5,400 tiles of 256 px."""

Draw = tuple[int, int]
"""Which sample, and under which epoch number it is asked for."""


class Batch(NamedTuple):
    """B samples of one size, on the CPU."""

    rgb: Tensor
    """(B, H, W, 3) uint8 IHC."""
    labels: Tensor
    """(B,) int64, 0 to 3, or -1 where unknown."""
    he: Tensor | None
    """(B, H, W, 3) uint8 H&E of the same pixels; None unless every sample has it."""
    groups: tuple[str, ...]
    """Slide or phantom of each sample."""


@runtime_checkable
class Labelled(Protocol):
    """A Source that knows its labels without reading pixels."""

    def labels(self) -> NDArray[np.int64]:
        """Return the label of every index, -1 where unknown: int64 (N,)."""
        ...


@runtime_checkable
class Blocked(Protocol):
    """A Source whose neighbouring indices share what is costly to prepare."""

    @property
    def block(self) -> int:
        """How many neighbours do."""
        ...


def labels_of(source: Source) -> NDArray[np.int64] | None:
    """Return the labels of all samples, (N,) int64, or None for a source that knows them only with the pixels."""
    return np.asarray(source.labels(), dtype=np.int64) if isinstance(source, Labelled) else None


def plain_draws(source: Source, epoch: int, seed: int, batch: int = 1, workers: int = 1) -> list[Draw]:
    """Return every sample of `source` once, in random order, neighbours of one block together (see `reading_order`)."""
    block = source.block if isinstance(source, Blocked) else 1
    order = reading_order(len(source), block, epoch, seed, batch, max(workers, 1))
    return [(int(index), epoch) for index in order]


def balanced_draws(source: Source, epoch: int, seed: int, balance: float) -> list[Draw] | None:
    """Return one epoch's draws in random order, about as many as `source` has samples with a label.

    A class with n samples is drawn in proportion to n ** (1 - balance): 0 shows every sample once, 1 all classes
    equally often. Within a class samples take turns. Neighbours of one block stay together. None for a source that does
    not know its labels, or whose blocks mix classes: it is balanced by itself or not at all.
    """
    labels = labels_of(source)
    blocks = _blocks(source, labels) if labels is not None else []
    if labels is None or any(len(np.unique(labels[block])) > 1 for block in blocks):
        return None
    blocks = [block for block in blocks if labels[block[0]] >= 0]
    kinds = np.array([labels[block[0]] for block in blocks])
    rng = np.random.default_rng((seed, epoch))
    classes, counts = np.unique(kinds, return_counts=True)
    shares = counts ** (1.0 - balance)
    quotas = np.maximum(np.rint(shares / shares.sum() * len(blocks)), 1).astype(np.int64)
    chosen: list[tuple[int, int]] = []
    for kind, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(kinds == kind)
        for repeat in range(-(-int(quota) // len(members))):
            turn = rng.permutation(members)[: int(quota) - repeat * len(members)]
            chosen.extend((int(number), epoch + repeat * REPEAT_STRIDE) for number in turn)
    shuffled = [chosen[place] for place in rng.permutation(len(chosen))]
    return [(int(index), variant) for number, variant in shuffled for index in rng.permutation(blocks[number])]


def _blocks(source: Source, labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return all indices, block by block."""
    size = source.block if isinstance(source, Blocked) else 1
    return [np.arange(start, min(start + size, len(labels))) for start in range(0, len(labels), size)]


def in_batches(draws: Sequence[Draw], size: int, *, drop_last: bool) -> list[list[Draw]]:
    """Return `draws` cut into batches of `size`; the last, smaller one is dropped unless it would be the only one."""
    cut = [list(draws[start : start + size]) for start in range(0, len(draws), size)]
    return cut[:-1] if drop_last and len(cut) > 1 and len(cut[-1]) < size else cut


class Loader:
    """Reads batches of a source, with `workers` processes ahead of time (0: here, one by one).

    Worker processes are spawned once and stay, so the source must be picklable. Their number changes no pixel.
    """

    def __init__(self, source: Source, workers: int = 0) -> None:
        """Read from `source`; nothing is read or started yet."""
        self._plan: list[list[Draw]] = []
        self._loader: Any = DataLoader(
            cast("Any", _Reading(source)),
            batch_sampler=cast("Any", self._plan),
            num_workers=workers,
            collate_fn=stack,
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else it draws from the global one, and a resumed epoch would differ
            pin_memory=torch.cuda.is_available(),
        )

    def batches(self, plan: Sequence[list[Draw]]) -> Iterator[Batch]:
        """Yield the batches of `plan` in their order. Raises UsageError when samples of a batch differ in size."""
        self._plan[:] = plan
        yield from self._loader


class KeptBatches:
    """The same batches again and again: read once, and remembered where they are not too many."""

    def __init__(self, loader: Loader, plan: Sequence[list[Draw]], limit_bytes: int = KEPT_BYTES) -> None:
        """Read `plan` with `loader` when first asked for; more than `limit_bytes` of pixels are read every time."""
        self._loader, self._plan, self._limit_bytes = loader, plan, limit_bytes
        self._kept: list[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches in their order."""
        if self._kept is not None:
            yield from self._kept
            return
        seen: list[Batch] | None = []
        size = 0
        for batch in self._loader.batches(self._plan):
            size += batch.rgb.numel() + (batch.he.numel() if batch.he is not None else 0)
            if seen is not None:
                seen = [*seen, batch] if size <= self._limit_bytes else None
            yield batch
        self._kept = seen


def stack(samples: Sequence[Sample]) -> Batch:
    """Return `samples` as one batch. Raises UsageError naming the first group whose image has another size."""
    shape = samples[0].rgb.shape
    for sample in samples:
        for image in (sample.rgb, sample.he):
            if image is not None and image.shape != shape:
                found, wanted = (f"{side.shape[1]} x {side.shape[0]} px" for side in (image, samples[0].rgb))
                raise UsageError(sample.group, f"has a sample of {found} among those of {wanted}")
    pairs = [sample.he for sample in samples if sample.he is not None]
    he = torch.from_numpy(np.stack(pairs)) if len(pairs) == len(samples) else None
    rgb = torch.from_numpy(np.stack([sample.rgb for sample in samples]))
    labels = torch.tensor([sample.label for sample in samples], dtype=torch.int64)
    return Batch(rgb, labels, he, tuple(sample.group for sample in samples))


class _Reading:
    """A Source as torch's loader asks for it."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __getitem__(self, draw: Draw) -> Sample:
        """Return the sample of a draw."""
        index, epoch = draw
        return self._source.sample(index, epoch)
