"""A QuPath project beside the results: slide and maps in one list, classes in our colours, a script for the objects.

Objects in a project live in Java-serialised files, so they come by GeoJSON and a short Groovy script instead.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.export.palette import qupath_classes
from wsi_pipeline.export.qupath_script import import_script

PROJECT_FOLDER = "qupath"
"""Folder of the project inside the run folder."""

SLIDE_ENTRY_ID = 1
"""Id of the slide in the project; the script runs for this entry only."""

QUPATH_VERSION = "0.6.0"
"""Version that the project file claims; a project without one is refused."""

_PROVIDER = "qupath.lib.images.servers"
_PROVIDERS: dict[str, tuple[str, list[str]]] = {
    "openslide": (f"{_PROVIDER}.openslide.OpenslideServerBuilder", []),
    "bioformats": (f"{_PROVIDER}.bioformats.BioFormatsServerBuilder", ["--series", "0"]),
}
"""Our name of a reader: QuPath's class, and its arguments."""


class MapImage(BaseModel):
    """One map of the run as the project lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="name shown in the project's list")
    path: str = Field(description="path of the .zarr relative to the run folder, with /")


class QuPathProject(BaseModel):
    """What the project shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slide: Path = Field(description="the slide, absolute")
    reader: Literal["openslide", "bioformats"] = Field(description="bioformats for plain images and OME-TIFF")
    image_type: Literal["BRIGHTFIELD_H_DAB", "BRIGHTFIELD_H_E"] = Field(description="QuPath's name of the stain")
    metadata: dict[str, str] = Field(description="shown beside the slide in the project's list: score, shares, notice")
    maps: tuple[MapImage, ...] = Field((), description="maps of this slide")
    tiles: tuple[str, ...] = Field((), description="tile GeoJSON files relative to the run folder, with /")
    cells: tuple[str, ...] = Field((), description="cell GeoJSON files relative to the run folder, with /")


def write_qupath_project(work: Path, final: Path, project: QuPathProject) -> Path:
    """Write the project into `work`/qupath with links that hold once the run lies in `final`; return the project file.

    Raises OutputError (a relative slide path, a map or GeoJSON file that is not in `work`), ResourceError.
    """
    if not project.slide.is_absolute():
        raise OutputError(project.slide, "must be an absolute path to be found from a QuPath project")
    for relative in (*(image.path for image in project.maps), *project.tiles, *project.cells):
        if not (work / PurePosixPath(relative)).exists():
            raise OutputError(work / relative, "does not exist, so the QuPath project cannot list it")
    folder = work / PROJECT_FOLDER
    with plain_disk_errors(folder):
        (folder / "classifiers").mkdir(parents=True, exist_ok=True)
        (folder / "scripts").mkdir(exist_ok=True)
    path = folder / "project.qpproj"
    _write_json(folder / "classifiers" / "classes.json", {"pathClasses": _path_classes()})
    script = import_script(project.tiles, project.cells, project.image_type, project.metadata)
    write_atomic(folder / "scripts" / "import_results.groovy", script.encode())
    _write_json(path, _project_json(final, project))
    return path


def _project_json(final: Path, project: QuPathProject) -> dict[str, Any]:
    """Return the content of the .qpproj file."""
    final = final.absolute()
    now_ms = time.time_ns() // 1_000_000
    images = [_entry(SLIDE_ENTRY_ID, project.slide.name, (project.slide, project.reader), project.metadata)]
    for number, image in enumerate(project.maps, start=SLIDE_ENTRY_ID + 1):
        metadata = {"Map of": project.slide.name}
        images.append(_entry(number, image.name, (final / PurePosixPath(image.path), "bioformats"), metadata))
    return {
        "version": QUPATH_VERSION,
        "createTimestamp": now_ms,
        "modifyTimestamp": now_ms,
        "uri": (final / PROJECT_FOLDER / "project.qpproj").as_uri(),
        "lastID": len(images),
        "images": images,
    }


def _entry(number: int, name: str, source: tuple[Path, str], metadata: dict[str, str]) -> dict[str, Any]:
    """Return one image of the project; `source` is its absolute path and our name of the reader."""
    path, reader = source
    provider, arguments = _PROVIDERS[reader]
    return {
        "serverBuilder": {
            "builderType": "uri",
            "providerClassName": provider,
            "uri": path.as_uri(),
            "args": arguments,
        },
        "entryID": number,
        "imageName": name,
        "metadata": metadata,
    }


def _path_classes() -> Sequence[dict[str, Any]]:
    """Return the project's classes with their colours packed as Java does: ARGB in a signed 32-bit integer."""
    return [
        {"name": name, "color": ((red << 16) | (green << 8) | blue) - (1 << 24)}
        for name, (red, green, blue) in qupath_classes()
    ]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented UTF-8 JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())
