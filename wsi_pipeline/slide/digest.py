"""What identifies a slide's bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK_BYTES = 1 << 20
"""Bytes read at once; memory stays flat for slides of any size."""


def sha256_of(path: str | Path) -> str:
    r"""Return the slide's sha256 as 64 hex digits.

    One file: its own sha256, as `sha256sum` prints it. MIRAX (.mrxs with a folder of the same stem): the sha256 of the
    lines "<sha256>  <name>\n" of the named file and of every file in that folder, by name relative to the named file's
    folder with forward slashes, the named file first and the others sorted. DICOM: the named instance alone.
    """
    path = Path(path)
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return _file_sha256(path)
    names = sorted(file.relative_to(path.parent).as_posix() for file in folder.rglob("*") if file.is_file())
    lines = [f"{_file_sha256(path.parent / name)}  {name}\n" for name in (path.name, *names)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    """Return the sha256 of one file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
