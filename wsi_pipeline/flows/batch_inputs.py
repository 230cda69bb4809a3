"""What a batch works on: slides named one by one, in folders, by patterns and in manifests."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.wildcards import fixed_part, matches
from wsi_pipeline.scoring.rule import Specimen, Tumour
from wsi_pipeline.slide.zarr_images import METADATA_FILES, is_zarr
from wsi_pipeline.storage import Address, RemotePath

SLIDES = frozenset({
    ".svs", ".tif", ".tiff", ".btf", ".tf8", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".qptiff",
    ".dcm", ".czi", ".png", ".jpg", ".jpeg",
})  # fmt: skip
"""Endings of files in a folder that are taken for slides."""

OTHER_SLIDES = frozenset({".vsi", ".isyntax", ".i2syntax", ".lif", ".kfb", ".sdpc", ".mds", ".tmap", ".jp2"})
"""Endings of slides that no reader here takes: they are listed too, so that none of an archive is passed over."""

RUN_RECORDS = ("result.json", "stain.json")
"""One of them in a folder says that a run wrote it, so that there are pictures but no slides in it."""

WORK = ".work"
"""Folder inside the results of a batch for what goes on, and for what is known of each slide."""

DICOM_MAGIC, DICOM_PREAMBLE = b"DICM", 128

SERIES_TAG = b"\x20\x00\x0e\x00UI"
"""SeriesInstanceUID (0020,000E) in explicit little endian, the encoding of compressed images."""

HEAD_BYTES = 1 << 16
"""Bytes in which a DICOM file names its series, and a .vms file its pictures."""

Stain = Literal["auto", "ihc", "he"]

Place = Path | RemotePath
"""Where a slide lies: on a disk that is mounted, or at a URL."""


@dataclass(frozen=True)
class SlideInput:
    """One slide of a batch. `path` is opened; `shown` stands for it: the folder of a DICOM series, else `path` itself.

    What a manifest leaves out is None; `mpp` in um/px.
    """

    path: Place
    shown: Place
    mpp: float | None = None
    stain: Stain | None = None
    roi: Place | None = None
    assay: str | None = None
    case: str = ""
    tumour: Tumour | None = None
    specimen: Specimen | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its place is known of it."""
        return self == SlideInput(self.path, self.shown)


def find_slides(folder: Place, leave_out: Place) -> Iterator[SlideInput]:
    """Yield the slides in a folder and all below it, by name; what runs wrote and `leave_out` are passed over.

    One slide each: an OME-Zarr folder, a .mrxs or .vms with its parts, the files of a DICOM series. A folder that is
    called like a slide and holds none is one too, a broken one. Raises UsageError for a folder that cannot be listed.
    """
    if not _is_run(folder):
        try:
            yield from _scan(folder, leave_out.resolve(), {folder.resolve()})
        except OSError as error:
            raise UsageError(str(folder), f"cannot be listed ({error.strerror or error})", "check the path") from error


def is_zarr_folder(place: Place) -> bool:
    """Tell whether a place is a Zarr group or array, sound or not."""
    return is_zarr(place) if isinstance(place, Path) else any((place / name).is_file() for name in METADATA_FILES)


def has_pattern(word: str) -> bool:
    """Tell whether `word` names files by a pattern, and not one that is called so."""
    return glob.has_magic(word) and not os.path.lexists(word)


def match_slides(pattern: str, leave_out: Path) -> tuple[Path, list[SlideInput]]:
    """Return the part of `pattern` that is no pattern, and the slides that it matches. Raises UsageError for none."""
    fixed = Path(*_before_magic(Path(pattern).parts))
    matched = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
    return fixed, _slides_among((Path(match) for match in matched), leave_out, pattern)


def match_remote(pattern: Address, leave_out: Place) -> tuple[RemotePath, list[SlideInput]]:
    """Return the same of a pattern at a URL. Raises UsageError for none, StorageError."""
    fixed, rest = fixed_part(pattern.url)
    root = RemotePath.below(Address.of(fixed))
    found = (place for name, place in (("", root), *root.walk()) if matches(name, rest, is_folder=place.is_dir()))
    return root, _slides_among(found, leave_out, pattern.shown)


def _slides_among(matched: Iterable[Place], leave_out: Place, pattern: str) -> list[SlideInput]:
    """Return the slides among what a pattern matches, and in the folders that it matches."""
    found: list[SlideInput] = []
    for path in matched:
        if path.is_dir() and not is_zarr_folder(path):
            found.extend(find_slides(path, leave_out))
        elif is_zarr_folder(path) or path.suffix.lower() in SLIDES | OTHER_SLIDES or is_dicom(path):
            found.append(SlideInput(path, path))
    if not found:
        raise UsageError(pattern, "matches no slide", "check the pattern, and quote it")
    return found


def _before_magic(parts: Sequence[str]) -> Iterator[str]:
    """Yield the leading parts of a path that hold no wildcard."""
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _scan(folder: Place, leave_out: Place, seen: set[Place]) -> Iterator[SlideInput]:
    """Yield the slides of a folder; `seen` keeps links from leading in circles."""
    inside: Iterable[Place] = folder.iterdir()
    entries = sorted((entry for entry in inside if not entry.name.startswith(".")), key=lambda entry: entry.name)
    files = [entry for entry in entries if not entry.is_dir()]
    parts = parts_of_slides(files)
    dicom = [file for file in files if is_dicom(file)]
    found = [*_series(folder, dicom), *_single_files(files, {*parts, *dicom})]
    yield from sorted(found, key=lambda slide: slide.path.name)
    for entry in entries:
        if entry.is_dir() and entry not in parts:
            yield from _below(entry, leave_out, seen)


def _below(folder: Place, leave_out: Place, seen: set[Place]) -> Iterator[SlideInput]:
    """Yield the slide that a folder is, or those in it."""
    try:
        if is_zarr_folder(folder) or folder.suffix.lower() == ".zarr":
            yield SlideInput(folder, folder)
            return
        real = folder.resolve()
        if real in seen or real == leave_out or _is_run(folder) or (folder / WORK).exists():
            return
        seen.add(real)
        inside = list(_scan(folder, leave_out, seen))
    except FileNotFoundError:  # deleted a moment ago
        return
    except OSError:  # opening it will fail too, and say so in the summary
        inside = [SlideInput(folder, folder)]
    if not inside and folder.suffix.lower() in SLIDES | OTHER_SLIDES:
        inside = [SlideInput(folder, folder)]
    yield from inside


def _is_run(folder: Place) -> bool:
    """Tell whether a folder holds the results of a run."""
    return any((folder / name).exists() for name in RUN_RECORDS)


def _single_files(files: Iterable[Place], others: set[Place]) -> Iterator[SlideInput]:
    """Yield the files that are slides by themselves."""
    for file in files:
        if file.suffix.lower() in SLIDES | OTHER_SLIDES and file not in others:
            yield SlideInput(file, file)


def parts_of_slides(files: Iterable[Place]) -> set[Place]:
    """Return the files and folders that belong to another file: the data of .mrxs, the pictures that a .vms names."""
    parts: set[Place] = set()
    for file in files:
        suffix = file.suffix.lower()
        if suffix == ".mrxs":
            parts.add(file.with_suffix(""))
        elif suffix in {".vms", ".vmu"}:
            parts |= {file.with_name(name) for name in _names_in(_head(file))}
    return parts


def _names_in(index: bytes) -> Iterator[str]:
    """Yield the values of an index file that may be names of files beside it, in the encodings that may be meant."""
    values = {line.partition(b"=")[2].strip() for line in index.splitlines() if b"=" in line}
    for name in {text for value in values for text in (os.fsdecode(value), value.decode("latin-1"))}:
        if name not in {"", ".", ".."} and "/" not in name and "\0" not in name:
            yield name


def is_dicom(file: Place) -> bool:
    """Tell whether a file is DICOM by its ending, or by its content where it has no real ending."""
    ending = file.suffix.lower()
    if ending == ".dcm":
        return file.is_file()
    if ending and not ending[1:].isdecimal():  # exports are called by their UIDs: 1.2.840.1 ends in ".1"
        return False
    return _head(file)[DICOM_PREAMBLE:].startswith(DICOM_MAGIC)


def _series(folder: Place, files: list[Place]) -> Iterator[SlideInput]:
    """Yield one slide per DICOM series; a folder that holds one series and nothing else of that kind stands for it."""
    groups = group_series(files)
    for group in groups:
        largest = max(group, key=_size)
        yield SlideInput(largest, folder if len(groups) == 1 and len(group) > 1 else largest)


def group_series(files: Iterable[Place]) -> list[list[Place]]:
    """Return DICOM files by the series that they belong to."""
    groups: dict[bytes, list[Place]] = {}
    for file in files:
        head = _head(file)
        at = head.find(SERIES_TAG) + len(SERIES_TAG)
        length = int.from_bytes(head[at : at + 2], "little")
        uid = head[at + 2 : at + 2 + length] if at >= len(SERIES_TAG) else os.fsencode(file.name)
        groups.setdefault(uid, []).append(file)
    return list(groups.values())


def _size(file: Place) -> int:
    """Return the bytes of a file, 0 where it is gone."""
    try:
        return file.stat().st_size if isinstance(file, Path) else file.size()
    except OSError:
        return 0


def _head(file: Place) -> bytes:
    """Return the first bytes of a file, none where it cannot be read."""
    if isinstance(file, RemotePath):
        return file.head(HEAD_BYTES)
    try:
        if not file.is_file():  # reading a pipe would wait for ever
            return b""
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError:
        return b""
