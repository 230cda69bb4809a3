"""Splits that do not leak: slides and patients stay whole, made-up images stay in training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.records import Patch, Split

ORDER: tuple[Split, ...] = get_args(Split)
Counts = NDArray[np.float64]


def of_split(patches: Iterable[Patch], split: Split) -> list[Patch]:
    """Return the patches of one split."""
    return [patch for patch in patches if patch.split == split]


def split_patches(patches: Sequence[Patch], shares: Mapping[Split, float], seed: int) -> list[Patch]:
    """Return all patches, in their order, each with a split; what they said of a split before is forgotten.

    Groups (patches tied by a slide or a patient) stay whole and are shared out so that every label is shared as
    `shares` asks, as nearly as the groups allow. A group with a synthetic image goes to training. The same patches and
    seed give the same splits, however the patches are ordered. Raises UsageError where the shares make no sense or the
    groups do not suffice.
    """
    wanted = _wanted(shares)
    groups = sorted(groups_of(patches), key=lambda group: min(str(patches[k].path) for k in group))
    made = [any(patches[k].synthetic for k in group) for group in groups]
    free = [index for index, synthetic in enumerate(made) if not synthetic]
    needed = len(wanted) - (1 if "train" in wanted and any(made) else 0)
    if len(free) < needed:
        raise UsageError(
            "splits",
            f"{len(free)} slides or patients of real images cannot fill {', '.join(wanted)}",
            "one slide never straddles two splits, and a group with a synthetic image goes to train",
        )
    if any(made) and "train" not in wanted:
        raise UsageError("splits", "synthetic images are given, but no share for train", "leave them out")
    chosen: list[Split] = ["train"] * len(groups)
    for index, split in zip(free, _share_out([groups[k] for k in free], patches, wanted, seed, any(made)), strict=True):
        chosen[index] = split
    split_of = {k: split for group, split in zip(groups, chosen, strict=True) for k in group}
    return [replace(patch, split=split_of[k]) for k, patch in enumerate(patches)]


def complete_splits(patches: Sequence[Patch], shares: Mapping[Split, float], seed: int) -> list[Patch]:
    """Return the patches with the splits that their layout gives; what it lacks is cut from training by group.

    Without any split in the layout, all are split. Raises UsageError where only some patches have a split, or the
    result leaks.
    """
    wanted = _wanted(shares)
    named = {patch.split for patch in patches}
    if named == {None}:
        return split_patches(patches, shares, seed)
    if None in named:
        lacking = next(patch for patch in patches if patch.split is None)
        raise UsageError(lacking.path, "it has no split while others have one", "give every patch one, or none")
    missing = [split for split in wanted if split not in named]
    if missing:
        if "train" in missing:
            raise UsageError("splits", "the data set has a split but no training patches", "name them train")
        total = sum(wanted[split] for split in ["train", *missing])
        part = {split: wanted[split] / total for split in ["train", *missing]}
        again = iter(split_patches(of_split(patches, "train"), part, seed))
        patches = [next(again) if patch.split == "train" else patch for patch in patches]
    require_no_leak(patches)
    return list(patches)


def require_no_leak(patches: Iterable[Patch]) -> None:
    """Raise UsageError naming the file where a group straddles splits or a synthetic image is in val or test."""
    first: dict[tuple[str, str], Patch] = {}
    for patch in patches:
        if patch.split is None:
            continue
        if patch.synthetic and patch.split != "train":
            raise UsageError(
                patch.path, f"a synthetic image is in {patch.split}", "synthetic images belong in train only"
            )
        for key in _keys(patch):
            other = first.setdefault(key, patch)
            if other.split != patch.split:
                raise UsageError(
                    patch.path,
                    f"{key[0]} {key[1]!r} is in {patch.split} here and in {other.split} with {other.path}",
                    "all patches of a slide and a patient belong in one split",
                )


def groups_of(patches: Sequence[Patch]) -> list[list[int]]:
    """Return the indices of patches that are tied by a slide or a patient, group by group."""
    parent = list(range(len(patches)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    first: dict[tuple[str, str], int] = {}
    for k, patch in enumerate(patches):
        for key in _keys(patch):
            parent[root(k)] = root(first.setdefault(key, k))
    found: dict[int, list[int]] = defaultdict(list)
    for k in range(len(patches)):
        found[root(k)].append(k)
    return list(found.values())


def _keys(patch: Patch) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return what ties a patch to others."""
    return ("slide", patch.slide), ("patient", patch.patient)


def _wanted(shares: Mapping[Split, float]) -> dict[Split, float]:
    """Return the splits with a share, in order. Raises UsageError unless the shares are positive and sum to 1."""
    unknown = [name for name in shares if name not in ORDER]
    if unknown or min(shares.values(), default=-1.0) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise UsageError("splits", f"shares {dict(shares)} make no sense", "train, val and test, summing to 1")
    return {split: shares[split] for split in ORDER if shares.get(split, 0.0) > 0}


def _share_out(
    groups: list[list[int]], patches: Sequence[Patch], wanted: dict[Split, float], seed: int, trained: bool
) -> list[Split]:
    """Return a split per group: large groups first, each to where its labels are missed most.

    `trained`: training is not empty without these.
    """
    counts = np.zeros((len(groups), 5))
    for row, group in enumerate(groups):
        for k in group:
            label = patches[k].label
            counts[row, 4 if label is None else label] += 1
    weight = 1 / np.maximum(counts.sum(axis=0), 1) ** 2
    lack: dict[Split, Counts] = {split: share * counts.sum(axis=0) for split, share in wanted.items()}
    empty = [split for split in wanted if not (trained and split == "train")]
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    chosen: list[Split] = ["train"] * len(groups)
    for done, row in enumerate(order):
        open_to = empty if len(order) - done <= len(empty) else list(wanted)
        split = max(open_to, key=lambda name: float((lack[name] * counts[row] * weight).sum()))
        chosen[row] = split
        lack[split] = lack[split] - counts[row]
        if split in empty:
            empty.remove(split)
    return chosen
