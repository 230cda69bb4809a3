"""The slides of a batch, each with a name for people and a run folder of its own."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path, PurePosixPath

from wsi_pipeline.errors import UsageError, printable
from wsi_pipeline.flows.batch_inputs import (
    OTHER_SLIDES,
    SLIDES,
    Place,
    SlideInput,
    find_slides,
    has_pattern,
    is_zarr_folder,
    match_remote,
    match_slides,
)
from wsi_pipeline.flows.batch_manifest import read_manifest
from wsi_pipeline.slide.zarr_images import is_zarr
from wsi_pipeline.storage import Address, RemotePath, is_url, local_path, look

RESERVED = ("summary.csv", "summary.parquet", "summary.html", "cases.csv", ".work")
"""Names in the results' folder that no run may take."""

ZARR = re.compile(r"\.(zarr)", re.IGNORECASE)

LONGEST_PART = 240
"""Bytes of a folder's name; file systems take 255."""


@dataclass(frozen=True)
class BatchSlide:
    """A slide of the batch: `name` is its path relative to what all inputs share, `folder` that of its results."""

    name: str
    folder: str
    source: SlideInput

    @property
    def id(self) -> str:
        """What its work and its record are called on disk, 16 hex digits: the same in every attempt."""
        return hashlib.sha256(self.folder.encode()).hexdigest()[:16]


def plan_batch(
    words: Sequence[str], out: Path, limit: int | None = None, target: Address | None = None
) -> list[BatchSlide]:
    """Return the slides that `words` name (files, folders, patterns, manifests), by name, the first `limit` of them.

    `target`: the URL that results are sent to, where no slides are looked for. Raises UsageError for a word that names
    nothing, and for a manifest that cannot be read; StorageError.
    """
    roots: list[Path] = []
    found: list[SlideInput] = []
    for word in words:
        root, slides = _read_url(Address.of(word), target) if is_url(word) else _read_word(word, out)
        roots.append(_absolute(root))
        found.extend(replace(slide, shown=_absolute(slide.shown)) for slide in slides)
    slides = _each_once(found)
    places = [_absolute(slide.shown) for slide in slides]
    common = _shared(roots + [place.parent for place in places])
    names = [_relative(place, common) for place in places]
    named = sorted(zip(names, slides, strict=True), key=lambda pair: pair[0])
    folders = run_folders([name for name, _ in named])
    planned = [BatchSlide(name, folder, slide) for (name, slide), folder in zip(named, folders, strict=True)]
    return planned[:limit]


def _read_word(word: str, out: Path) -> tuple[Path, list[SlideInput]]:
    """Return the folder that a word's names are relative to, and the slides that it names. Raises UsageError."""
    if has_pattern(word):
        return match_slides(word, out)
    path = local_path(word)
    if path.suffix.lower() == ".csv":
        return path.parent, read_manifest(path)
    if not os.path.lexists(path):
        raise UsageError(path, "no such file or folder", "check the path")
    if not path.is_dir() or is_zarr(path):
        return path.parent, [SlideInput(path, path)]
    slides = list(find_slides(path, out))
    if not slides:
        raise UsageError(path, "holds no slide", f"slides end in {', '.join(sorted(SLIDES))}, or are OME-Zarr folders")
    return path, slides


def _read_url(address: Address, target: Address | None) -> tuple[Place, list[SlideInput]]:
    """Return the folder that the names of a URL are relative to, and the slides that it names.

    Raises UsageError for nothing, StorageError.
    """
    leave_out = RemotePath.alone(address.child("nothing") if target is None else target)
    pattern = has_magic(address.url) and not address.is_web
    try:
        file = look(address)
    except UsageError:
        if not pattern:
            raise
        return match_remote(address, leave_out)
    if file is not None:
        place = RemotePath.alone(address, file)
        if place.suffix.lower() == ".csv":
            return place.parent, list(read_manifest(place))
        return place.parent, [SlideInput(place, place)]
    folder = RemotePath.below(address)
    if is_zarr_folder(folder):
        return folder.parent, [SlideInput(folder, folder)]
    slides = list(find_slides(folder, leave_out))
    if not slides:
        raise UsageError(str(folder), "holds no slide", f"slides end in {', '.join(sorted(SLIDES))}")
    return folder, slides


def _each_once(found: Sequence[SlideInput]) -> list[SlideInput]:
    """Return every slide once; what a manifest says of it goes before a mere place."""
    described = {slide.shown for slide in found if not slide.is_plain}
    kept = dict.fromkeys(slide for slide in found if not slide.is_plain or slide.shown not in described)
    return list(kept)


def _absolute(path: Place) -> Path:
    """Return the path from the root, links unresolved: a folder of links keeps its own names."""
    if isinstance(path, RemotePath):
        return path.as_local
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."


def _shared(folders: Sequence[Path]) -> Path | None:
    """Return the deepest folder above all, or None where there is none (two drives)."""
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:
        return None


def _relative(path: Path, root: Path | None) -> str:
    """Return the path relative to `root` with forward slashes; bytes that are no text are written as such."""
    relative = path.relative_to(root or path.anchor).as_posix()
    return printable(relative)


def run_folders(names: Sequence[str]) -> list[str]:
    """Return a folder for each slide: its path without the ending, or with it (`a_svs`) where that is not its own.

    Folders that some file system takes for one (case, accents) count as one, and no run lies in another's folder.
    """
    short = [_folder_name(name, ending=False) for name in names]
    count = Counter(_same(folder) for folder in short)
    above = {_same(str(parent)) for folder in short for parent in PurePosixPath(folder).parents}
    chosen = [
        brief if count[_same(brief)] == 1 and _same(brief) not in above else _folder_name(name, ending=True)
        for name, brief in zip(names, short, strict=True)
    ]
    above |= {_same(str(parent)) for folder in chosen for parent in PurePosixPath(folder).parents}
    taken = above | {_same(name) for name in RESERVED}
    folders = []
    for folder in chosen:
        free, number = folder, 1
        while _same(free) in taken:
            number += 1
            free = f"{folder}-{number}"
        taken.add(_same(free))
        folders.append(free)
    return folders


def _folder_name(name: str, *, ending: bool) -> str:
    """Return a slide's path as a folder, without its ending or with it after a low line.

    No part of it contains `.zarr`: QuPath would take that for the image.
    """
    path = PurePosixPath(name)
    known = path.suffix.lower() in {*SLIDES, *OTHER_SLIDES, ".zarr"}
    stem = path.stem.removesuffix(".ome") if known else path.name
    if ending and known:
        stem = path.name.replace(".", "_")
    parts = [*path.parts[:-1], stem]
    return "/".join(_fitting(ZARR.sub(r"_\1", part).replace(":", "_")) for part in parts)


def _fitting(part: str) -> str:
    """Return a part of a path that leaves room for "-2" and the like in what a file system takes."""
    raw = part.encode()
    if len(raw) <= LONGEST_PART:
        return part
    return f"{raw[: LONGEST_PART - 17].decode(errors='ignore')}-{hashlib.sha256(raw).hexdigest()[:16]}"


def _same(folder: str) -> str:
    """Return what is equal for names that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folder).casefold())
