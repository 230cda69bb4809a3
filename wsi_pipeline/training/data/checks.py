"""What can be wrong with a data set, each told with the file it is about."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.data.images import Fingerprint, fingerprint
from wsi_pipeline.training.data.records import Patch

NEAR_BITS = 8
"""Hashes that differ in at most so many of 64 bits are looked at closely. Measured on 25 real images: at most 4 after
JPEG of quality 40 or halving, at least 20 between different images."""

SAME_GREY = 4.0
"""Thumbnails of one image differ by less, mean absolute grey levels; measured: 0.8 at most, different images 8."""

BLANK_GREY = 3.0
"""A thumbnail that varies less (standard deviation, grey levels) is bare glass, which teaches nobody anything."""

Prints = dict[Path, Fingerprint]


def check_patches(patches: Sequence[Patch], least_px: int = 256) -> None:
    """Raise UsageError about the first problem of `problems_of`, which says how many there are."""
    problems = problems_of(patches, least_px)
    if problems:
        first = problems[0]
        more = f"{len(problems) - 1} more problems like this or others" if len(problems) > 1 else ""
        raise UsageError(first.subject, first.problem, "; ".join(text for text in (first.remedy, more) if text))


def problems_of(patches: Sequence[Patch], least_px: int = 256) -> list[UsageError]:
    """Return everything that is wrong: empty set or class, unknown label, files listed twice, missing, unreadable,
    smaller than `least_px` or unlike their pair, and images that two splits share (by a perceptual hash).

    Reads every image once, in a few threads.
    """  # noqa: D205
    if not patches:
        return [UsageError("data set", "it has no patch")]
    prints: Prints = {}
    problems = [*_labels(patches), *_listed(patches)]
    problems += _files(patches, prints)
    problems += [problem for patch in patches if (problem := _size(patch, prints, least_px))]
    problems += _shared(patches, prints)
    return problems


def _labels(patches: Sequence[Patch]) -> Iterator[UsageError]:
    """Find labels beyond 0 to 3, and classes that nobody or no training patch has."""
    for patch in patches:
        if patch.label is not None and patch.label not in range(len(HER2_CLASSES)):
            yield UsageError(patch.path, f"its label {patch.label} is not known", "labels are 0 to 3")
    labelled = [patch for patch in patches if patch.label is not None]
    if not labelled:
        return
    folder = os.path.commonpath([patch.path.parent for patch in patches])
    for where, chosen in (("", labelled), (" in train", [patch for patch in labelled if patch.split == "train"])):
        found = {patch.label for patch in chosen}
        empty = [name for code, name in enumerate(HER2_CLASSES) if code not in found]
        if chosen and empty:
            names = ", ".join(empty)
            yield UsageError(folder, f"class {names} is empty{where}", "a classifier needs patches of all four")
            return


def _listed(patches: Sequence[Patch]) -> Iterator[UsageError]:
    """Find images that stand for two patches."""
    seen: set[Path] = set()
    for patch in patches:
        if patch.path in seen:
            yield UsageError(patch.path, "is listed twice", "list it once")
        seen.add(patch.path)


def _files(patches: Sequence[Patch], prints: Prints) -> list[UsageError]:
    """Find files that are missing or cannot be read; put the others' fingerprints into `prints`."""
    problems = []
    wanted: list[Path] = []
    for patch in patches:
        if not patch.path.is_file():
            problems.append(UsageError(patch.path, "the image is missing"))
        elif patch.he is not None and not patch.he.is_file():
            problems.append(UsageError(patch.path, f"its pair {patch.he} is missing"))
        wanted += [file for file in (patch.path, patch.he) if file is not None and file.is_file()]
    files = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for file, found in zip(files, pool.map(_print_of, files), strict=True):
            if isinstance(found, UsageError):
                problems.append(found)
            else:
                prints[file] = found
    return problems


def _print_of(file: Path) -> Fingerprint | UsageError:
    """Return the fingerprint of `file`, or what is wrong with it."""
    try:
        return fingerprint(file)
    except UsageError as error:
        return error


def _size(patch: Patch, prints: Prints, least_px: int) -> UsageError | None:
    """Return what is wrong with the size of a patch, if anything."""
    if patch.path not in prints:
        return None
    size = prints[patch.path].size
    if min(size) < least_px:
        return UsageError(patch.path, f"is {size.width} x {size.height} px", f"at least {least_px} px are needed")
    other = prints[patch.he].size if patch.he in prints else size
    if other == size:
        return None
    return UsageError(
        patch.path,
        f"is {size.width} x {size.height} px, its pair {patch.he} is {other.width} x {other.height} px",
        "both must show the same pixels",
    )


def _shared(patches: Sequence[Patch], prints: Prints) -> Iterator[UsageError]:
    """Find images of one split that another split has too, for IHC; a pair shares its partner's fate."""
    known = [patch for patch in patches if patch.path in prints]
    known = [patch for patch in known if prints[patch.path].thumb.std(axis=(0, 1)).max() >= BLANK_GREY]
    bits = np.array([prints[patch.path].bits for patch in known], dtype=np.uint64)
    for split, others in (("val", ("train",)), ("test", ("train", "val"))):
        left = np.array([k for k, patch in enumerate(known) if patch.split == split], dtype=np.int64)
        right = np.array([k for k, patch in enumerate(known) if patch.split in others], dtype=np.int64)
        for k, twin in _near(bits, left, right):
            here, there = known[k], known[twin]
            if _alike(prints[here.path], prints[there.path]):
                yield UsageError(
                    here.path, f"in {here.split} shows the same as {there.path} in {there.split}", "remove one of them"
                )


def _near(bits: NDArray[np.uint64], left: NDArray[np.int64], right: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices whose hashes nearly agree."""
    for k in left:
        for twin in right[np.bitwise_count(bits[right] ^ bits[k]) <= NEAR_BITS]:
            yield int(k), int(twin)


def _alike(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether two thumbnails show the same picture."""
    return float(np.abs(one.thumb.astype(np.int16) - other.thumb).mean()) <= SAME_GREY
