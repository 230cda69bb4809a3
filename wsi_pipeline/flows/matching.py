"""Which result belongs to which labelled slide: by path, file name or stem; nothing is dropped without a word."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from pydantic import ValidationError

from wsi_pipeline.errors import UsageError
from wsi_pipeline.flows.labels import Label
from wsi_pipeline.results import SCHEMA_VERSION, Result
from wsi_pipeline.storage import is_url

RECORD = "result.json"


@dataclass(frozen=True)
class Run:
    """A run's record and where it lies."""

    path: Path
    result: Result

    @property
    def slide(self) -> str:
        """Where the slide lies: its path on the machine that scored it, or its URL, as far as the record tells."""
        record = self.result.slide
        if record.local_path is not None or is_url(record.path):
            return record.local_path or record.path
        return os.path.normpath(self.path.parent / record.path)


@dataclass(frozen=True)
class Matched:
    """Every label with its run or None, in the order of the labels, and the runs that no label names.

    `elsewhere`: names of labels that are paths whose run was of a file of that name in another folder.
    """

    pairs: list[tuple[Label, Run | None]]
    unlabelled: list[Run]
    elsewhere: list[str]


def read_run(path: Path) -> Run:
    """Return the record in a result.json. Raises UsageError."""
    try:
        return Run(path, Result.model_validate_json(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(path, "cannot be read") from error
    except ValidationError as error:
        raise UsageError(
            path, f"is not a result of version {SCHEMA_VERSION}", "score the slide again, or name run folders only"
        ) from error


def find_runs(places: Sequence[Path]) -> list[Run]:
    """Return the runs in `places`: run folders, result.json files, or folders of run folders. Raises UsageError."""
    found: dict[Path, None] = {}
    for place in places:
        found |= dict.fromkeys(path.resolve() for path in _records(place))
    return [read_run(path) for path in found]


def _records(place: Path) -> list[Path]:
    """Return the result.json files at or below `place`; folders of unfinished runs are hidden and left out."""
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UsageError(place, "no such file or folder", "name run folders, result.json files, or a folder of runs")
    if (place / RECORD).is_file():
        return [place / RECORD]
    inside = sorted(place.rglob(RECORD))
    finished = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(place).parts)]
    if not finished:
        raise UsageError(place, f"holds no {RECORD}", "name run folders, result.json files, or a folder of runs")
    return finished


def match(labels: Sequence[Label], runs: Sequence[Run]) -> Matched:
    """Return which run belongs to which label. Raises UsageError where two runs, or two labels, claim the same."""
    claims = {label.name: _claim(label, runs) for label in labels}
    strongest: dict[Path, tuple[int, str]] = {}
    for name, claim in claims.items():
        if claim is None:
            continue
        run, common = claim
        rival = strongest.get(run.path)
        if rival is not None and rival[0] == common:
            raise UsageError(run.path, f"is the result of both {rival[1]} and {name}", "name slides by their path")
        if rival is None or common > rival[0]:
            strongest[run.path] = (common, name)
    by_path = {run.path: run for run in runs}
    run_of = {name: by_path[path] for path, (_, name) in strongest.items()}
    elsewhere = [name for common, name in strongest.values() if common == 0 and len(pure(name).parts) > 1]
    unlabelled = [run for run in runs if run.path not in strongest]
    return Matched([(label, run_of.get(label.name)) for label in labels], unlabelled, elsewhere)


def _claim(label: Label, runs: Sequence[Run]) -> tuple[Run, int] | None:
    """Return the run of one label and how many folders they share: same file name or stem, most folders in common."""
    wanted = pure(label.name)
    named = [(run, pure(run.slide)) for run in runs]
    common = {
        run.path: _common_folders(wanted, slide) for run, slide in named if wanted.name in names_of(slide)
    }  # fmt: skip
    if not common:
        return None
    most = max(common.values())
    best = [run for run in runs if common.get(run.path) == most]
    if len(best) > 1:
        raise UsageError(
            label.name, f"has {len(best)} results: {' and '.join(str(run.path) for run in best[:2])}",
            "name one run for each slide, or slides by their path",
        )  # fmt: skip
    return best[0], most


def pure(name: str) -> PurePath:
    """Return a path written on any system."""
    return PureWindowsPath(name) if "\\" in name else PurePosixPath(name)


def names_of(slide: PurePath) -> set[str]:
    """Return what a slide may be called: its file name, and that without its suffix or suffixes (".ome.tif")."""
    return {slide.name, slide.stem, slide.stem.removesuffix(".ome")}


def _common_folders(one: PurePath, other: PurePath) -> int:
    """Return how many folders above the file are the same, counted upwards."""
    count = 0
    for ours, theirs in zip(reversed(one.parts[:-1]), reversed(other.parts[:-1]), strict=False):
        if ours != theirs:
            break
        count += 1
    return count
