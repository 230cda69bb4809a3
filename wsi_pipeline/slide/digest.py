"""What identifies a slide's bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

BLOCK_BYTES = 1 << 20
"""Bytes read at once; memory stays flat for slides of any size."""


def sha256_of(path: str | Path) -> str:
    r"""Return the slide's sha256 as 64 hex digits.

    One file: its own sha256, as `sha256sum` prints it. MIRAX (.mrxs with a folder of the same stem): the sha256 of the
    lines "<sha256>  <name>\n" of the named file and of every file in that folder, by name relative to the named file's
    folder with forward slashes, the named file first and the others sorted. DICOM: the named instance alone.

    A folder (OME-Zarr): the sha256 of such lines for every file in it, hidden ones too, sorted by name relative to the
    folder, so that it may be renamed. The same by hand, inside the folder:
    `find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`.
    """
    path = Path(path)
    if path.is_dir():
        return _lines_sha256(path, _names(path, path))
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return _file_sha256(path)
    return _lines_sha256(path.parent, [path.name, *_names(folder, path.parent)])


def _names(folder: Path, root: Path) -> list[str]:
    """Return the names of all files in `folder`, relative to `root` with forward slashes, sorted."""
    return sorted(file.relative_to(root).as_posix() for file in folder.rglob("*") if file.is_file())


def _lines_sha256(root: Path, names: Iterable[str]) -> str:
    """Return the sha256 of the lines that sha256sum prints for files in `root`, 64 hex digits."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{_file_sha256(root / name)}  {name}\n".encode())
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    """Return the sha256 of one file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fingerprint_of(path: str | Path) -> str:
    """Return what changes when a slide is replaced, without reading it: its files, their bytes, the newest change.

    Of the same files as `sha256_of`. Raises OSError for what is not there.
    """
    path = Path(path)
    folder = path.with_suffix("")
    if path.is_dir():
        files = [path / name for name in _names(path, path)]
    elif path.suffix.lower() == ".mrxs" and folder.is_dir():
        files = [path, *(folder.parent / name for name in _names(folder, folder.parent))]
    else:
        files = [path]
    stats = [file.stat() for file in files]
    newest = max((stat.st_mtime_ns for stat in stats), default=0)
    return f"{len(stats)} files, {sum(stat.st_size for stat in stats)} bytes, {newest} ns"
