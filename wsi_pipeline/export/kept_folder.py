"""A run folder that outlives its process: whoever comes next takes up what was finished in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from wsi_pipeline.errors import (
    CorruptSlideError,
    MissingMppError,
    OutputError,
    RoiError,
    UnsupportedSlideError,
    UsageError,
    WeightsError,
)
from wsi_pipeline.export.atomic import (
    LAST_PUBLISHED,
    PRIVATE,
    RunFolder,
    plain_disk_errors,
    sync_folder,
    write_atomic,
)
from wsi_pipeline.export.claims import this_boot
from wsi_pipeline.export.run_place import require_place

OWN_FAULT = (CorruptSlideError, MissingMppError, RoiError, UnsupportedSlideError, UsageError, WeightsError)
"""What would go wrong again in the same way, so that there is nothing to take up."""

KEY = "key.json"

PUBLISHING = ".publishing.json"
"""Ending of the file beside the work folder that says that the run is whole and where it is to end."""

HALF_WRITTEN = ("*.partial", ".*.tmp")
"""Names under which chunks of maps and `write_atomic` are written before they are renamed: what a kill leaves."""


class KeptFolder(RunFolder):
    """A run's folder under a name that the next attempt finds again; at most one process works in it at a time.

    Published like any run folder, in one rename. Deleted when the slide itself is at fault; after anything else (a
    kill, Ctrl-C, a full disk, a lost cluster) it stays, and `take_up` finds its parts valid if the key is the same.
    """

    note: Mapping[str, Any]
    """What `published` is to give back beside the path, JSON."""

    is_ours: Callable[[], bool]
    """Whether nobody else has taken the work over."""

    @classmethod
    def open(
        cls,
        work: Path,
        requested: Path,
        note: Mapping[str, Any],
        *,
        is_free: Callable[[Path], bool],
        is_ours: Callable[[], bool],
    ) -> KeptFolder:
        """Make or find the folder `work` of the run that is to end in `requested`, or beside it with a number.

        `is_free` tells whether a run may end in a path. Raises OutputError, ResourceError.
        """
        with plain_disk_errors(work):
            work.mkdir(parents=True, exist_ok=True)
        numbered = (requested.with_name(f"{requested.name}-{number}") for number in count(2))
        final = requested
        while not is_free(final):
            final = next(numbered)
        with plain_disk_errors(final):
            require_place(work, final)
        folder = cls(work, final, requested, [])
        folder.note, folder.is_ours = note, is_ours
        return folder

    @property
    def finished(self) -> bool:
        """Whether all files of the run are there and it only has to be published."""
        return (self.work / LAST_PUBLISHED).exists()

    def take_up(self, key: Mapping[str, Any]) -> bool:
        """Tell whether finished parts of a run with this `key` lie here; clean up after whoever left them.

        Whatever else lies here is deleted. After a power cut nothing counts that this machine wrote before it, since
        chunks may then be shorter than they seem.
        """
        known = _read(self.private / KEY)
        host, boot = this_boot()
        boots = known.get("boots", [])
        lost_power = any(other == host and earlier != boot for other, earlier in boots)
        same_end = known.get("final") == self.final.name or not self.finished
        if not known or known.get("key") != _plain(key) or lost_power or not same_end:
            self._clear(set())
            return False
        if not self.finished:
            self._clear(set(known["made"]))
        self._write(known | {"final": self.final.name, "boots": _with(boots, [host, boot])})
        return True

    def keep(self, key: Mapping[str, Any]) -> None:
        """Let a later run take up, under `key`, what lies here now and what is written into it from now on."""
        made = [path.relative_to(self.work).as_posix() for path in (*self.work.glob("*"), *self.work.glob("*/*"))]
        self._write({"key": _plain(key), "made": made, "final": self.final.name, "boots": [list(this_boot())]})

    def publish(self) -> Path:
        """Move the finished run to `final`; raises OutputError when something lies there by now.

        Killed in the middle, `published` finds out how far this came; `settle` ends it.
        """
        if self.final.exists() or not self.is_ours():
            raise OutputError(self.final, "was filled by somebody else during the run", "run again")
        told = {"final": os.path.relpath(self.final, self.work.parent), "note": dict(self.note)}
        with plain_disk_errors(self.final):
            self.final.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(_marker(self.work), json.dumps(told).encode())
            _move(self.work, self.final)
        return self.final

    @staticmethod
    def published(work: Path) -> tuple[Path, dict[str, Any]] | None:
        """Return where the whole run that was worked on in `work` ended, and its note, where `settle` was not reached.

        Completes a publishing that was cut short.
        """
        told = _read(_marker(work))
        if not told:
            return None
        final = Path(os.path.normpath(work.parent / told["final"]))
        with plain_disk_errors(work):
            if work.exists() and not final.exists():
                _move(work, final)
        return None if work.exists() or not (final / LAST_PUBLISHED).exists() else (final, told["note"])

    @staticmethod
    def settle(work: Path) -> None:
        """Forget where the run ended: the caller has written it down."""
        _marker(work).unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish after success, delete after an error that would come again, else leave all to the next attempt."""
        if kind is None:
            self.publish()
        elif isinstance(error, OWN_FAULT):
            self.discard()

    def _write(self, known: dict[str, Any]) -> None:
        """Write the key's file; everything that it vouches for was there before."""
        self.private.mkdir(exist_ok=True)
        write_atomic(self.private / KEY, json.dumps(known).encode())

    def _clear(self, made: set[str]) -> None:
        """Delete what is not in `made` (relative paths, two levels deep), but of a run that goes on not its records."""
        with plain_disk_errors(self.work):
            for path in (*self.work.glob("*"), *self.work.glob("*/*")):
                relative = path.relative_to(self.work).as_posix()
                if relative in made or (made and path.parent == self.private) or not path.exists():
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            for pattern in HALF_WRITTEN:
                for path in self.work.rglob(pattern):
                    path.unlink(missing_ok=True)


def _marker(work: Path) -> Path:
    """Return the file that says that the run in `work` is whole."""
    return work.with_name(f"{work.name}{PUBLISHING}")


def _move(work: Path, final: Path) -> None:
    """Give a whole run its final name, without what only the run itself reads."""
    shutil.rmtree(work / PRIVATE, ignore_errors=True)
    work.rename(final)
    sync_folder(final.parent)


def _with(boots: list[list[str]], boot: list[str]) -> list[list[str]]:
    """Return the boots and this one, each once."""
    return boots if boot in boots else [*boots, boot]


def _plain(key: Mapping[str, Any]) -> Any:
    """Return the key as JSON gives it back."""
    return json.loads(json.dumps(key))


def _read(path: Path) -> dict[str, Any]:
    """Return what the key's file says, or nothing where there is none that can be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
