"""What every export needs: the notice it carries, and files that appear whole, never over anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from wsi_pipeline.errors import OutputError, UsageError

NOTICE = "Research use only. Not a medical device; not for diagnosis."
"""Goes with every network that leaves this program."""


def refuse_existing(path: Path) -> None:
    """Raise UsageError when there is anything at `path`."""
    if path.exists() or path.is_symlink():
        raise UsageError(path, "exists already, and nothing is overwritten", "name a new one with -o")


def write_new(path: Path, content: bytes | Mapping[str, bytes]) -> None:
    """Write a file, or a folder of files by name, under a hidden name and rename it to `path` when it is whole.

    Raises UsageError when `path` exists, OutputError when it cannot be written; nothing is left then.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if isinstance(content, bytes):
                _write(beside, content)
            else:
                beside.mkdir()
                for name, part in content.items():
                    _write(beside / name, part)
            refuse_existing(path)
            beside.rename(path)
        finally:
            _remove(beside)
    except OSError as error:
        raise OutputError(
            path, f"cannot be written: {error.strerror or error}", "choose another place with -o"
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write one file down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Remove what a failure left, file or folder."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
