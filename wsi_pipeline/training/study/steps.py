"""Steps that leave their result, so that a killed study goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.export.atomic import plain_disk_errors
from wsi_pipeline.export.tables import write_json
from wsi_pipeline.training.study.files import sha256
from wsi_pipeline.training.study.options import flat

REQUEST = "request.json"
"""What the study in a folder was asked for."""

NEW_FOLDER = "start the study in a new folder"


class Outcome(NamedTuple):
    """What a step leaves: files below the study's folder, and what is to be said of it, as JSON values."""

    files: Sequence[Path]
    facts: Mapping[str, Any]


class Ledger:
    """Which steps of the study in a folder are done. A step is done when its note is there, written last."""

    def __init__(self, folder: Path, request: Mapping[str, Any], *, resume: bool) -> None:
        """Look whether the folder is free for the study that `request` (JSON values) describes; nothing is written.

        Raises UsageError when it holds something else, or this study while `resume` was not asked for.
        """
        self.folder = folder
        self._notes: dict[str, dict[str, Any]] = {}
        asked = json.loads(json.dumps(request))
        if (folder / REQUEST).is_file():
            if not resume:
                raise UsageError(folder, "holds a study already", "go on with --resume, or choose another -o")
            _refuse_changes(folder, _read(folder / REQUEST), asked)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(folder, "is not empty and holds no study", "choose another -o")
        self._asked = asked

    def begin(self) -> None:
        """Make the folder and note in it what was asked for. Raises OutputError, ResourceError."""
        with plain_disk_errors(self.folder):
            (self.folder / "steps").mkdir(parents=True, exist_ok=True)
        write_json(self.folder / REQUEST, self._asked)

    def do(self, name: str, work: Callable[[], Outcome]) -> dict[str, Any]:
        """Return the facts of step `name`, done now or before.

        Raises OutputError when a file of a finished step is gone or was changed.
        """
        path = self.folder / "steps" / f"{name}.json"
        if path.is_file():
            note = _read(path)
            for file, known in note["files"].items():
                if not (self.folder / file).is_file() or sha256(self.folder / file) != known:
                    raise OutputError(self.folder / file, f"is not as step {name!r} left it", NEW_FOLDER)
        else:
            start = time.perf_counter()
            outcome = work()
            files = {file.relative_to(self.folder).as_posix(): sha256(file) for file in outcome.files}
            note = {"seconds": round(time.perf_counter() - start, 1), "files": files, "facts": dict(outcome.facts)}
            write_json(path, note)
            note = _read(path)
        self._notes[name] = note
        facts: dict[str, Any] = note["facts"]
        return facts

    def record(self) -> dict[str, dict[str, Any]]:
        """Return step -> seconds of its last start and the hashes of its files."""
        return {name: {"seconds": note["seconds"], "files": note["files"]} for name, note in self._notes.items()}


def _refuse_changes(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise UsageError naming the first thing asked for that differs."""
    old, new = flat(before), flat(now)
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            raise UsageError(
                folder, f"the study was begun with {name} = {old.get(name)!r}, not {new.get(name)!r}",
                "go on with the same settings, or choose another -o",
            )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """Return a note. Raises OutputError when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(path, f"cannot be read: {error}", NEW_FOLDER) from error
    if not isinstance(content, dict):
        raise OutputError(path, "is no note of a study", NEW_FOLDER)
    return content
