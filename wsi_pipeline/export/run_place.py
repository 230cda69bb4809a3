"""Whether a run can end where it is to end, found out before anything is measured."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wsi_pipeline.errors import OutputError

LONGEST_PATH = 4096 - 256
"""Bytes of a run folder's path: what Linux takes, less room for the maps in it."""

REMEDY = "choose another folder with -o"


def require_place(work: Path, final: Path) -> None:
    """Find out whether a run written in `work` can be moved to `final` at its end.

    The folders that are still to be made are made in `work` for a moment, to see whether the disk takes their names.

    Raises:
        OutputError: as `folder_above`.
        OSError: the disk refuses a name.
    """
    for name in final.relative_to(folder_above(final)).parts:
        (work / name).mkdir(exist_ok=True)
        with suppress(OSError):
            (work / name).rmdir()


def folder_above(final: Path) -> Path:
    """Return the folder that a run's folder is to be made in, or below. Raises OutputError where it cannot be made."""
    if len(os.fsencode(final)) > LONGEST_PATH:
        raise OutputError(final, f"is a path of more than {LONGEST_PATH} bytes", REMEDY)
    existing = next(folder for folder in final.parents if os.path.lexists(folder))
    if not existing.is_dir():
        raise OutputError(final, f"lies below {existing.name}, which is no folder", REMEDY)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(final, "lies in a folder that may not be written", REMEDY)
    return existing
