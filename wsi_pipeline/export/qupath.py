"""A QuPath project in the run folder: slide and maps in one list, classes in our colours, a script for the rest.

Objects in a project live in Java-serialised files, so they come by GeoJSON and a Groovy script instead, which also lays
maps over the slide.

The project lies in the run folder's root. QuPath opens no relative URI, but a project says where it was written: what
is missing after a move is looked for at the same place relative to the project, and taken without a question where all
of it lies below the project's folder, as the maps do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.errors import OutputError, printable
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.export.palette import qupath_classes
from wsi_pipeline.export.qupath_script import SLIDE_ENTRY, LaidMap, Shown, run_script
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Mpp

PROJECT_FILE = "project.qpproj"
"""Name of the project in the run folder."""

CLASSES_FILE = "classifiers/classes.json"
"""The project's classes in the run folder, where QuPath looks for them."""

SCRIPT_FILE = "scripts/import_results.groovy"
"""The script in the run folder, where QuPath looks for a project's scripts."""

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
    shown: Shown | None = Field(None, description="how the script lays it over the slide; None: not at all")


class QuPathProject(BaseModel):
    """What the project shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slide: Path = Field(description="the slide, absolute")
    reader: Literal["openslide", "bioformats"] = Field(description="bioformats for plain images and OME-TIFF")
    mpp: Mpp = Field(description="pixel size of level 0, um")
    image_type: Literal["BRIGHTFIELD_H_DAB", "BRIGHTFIELD_H_E"] = Field(description="QuPath's name of the stain")
    metadata: dict[str, str] = Field(description="shown beside the slide in the project's list: score, shares, notice")
    maps: tuple[MapImage, ...] = Field((), description="maps of this slide")
    scored: bool = Field(True, description="false where the result is not evaluable, so that QuPath makes no H-score")
    cells: tuple[str, ...] = Field((), description="cell GeoJSON files relative to the run folder, with /")
    tiles: tuple[str, ...] = Field((), description="files of the tiles in which cells were measured, in the same way")
    network_tiles: tuple[str, ...] = Field((), description="files of the tiles that a network classified")

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """Files of objects by kind, as the script names the kinds."""
        return {"cells": self.cells, "tiles": self.tiles, "network tiles": self.network_tiles}


def write_qupath_project(work: Path, final: Path, project: QuPathProject) -> Path:
    """Write the project into `work` with links that hold once the run lies in `final`; return the project file.

    Raises:
        OutputError: a relative slide path, or a map or GeoJSON file that is not in `work`.
        ResourceError: the disk is full.
    """
    if not project.slide.is_absolute():
        raise OutputError(project.slide, "must be an absolute path to be found from a QuPath project")
    for relative in chain((image.path for image in project.maps), *project.files.values()):
        if not (work / PurePosixPath(relative)).exists():
            raise OutputError(work / relative, "does not exist, so the QuPath project cannot list it")
    with plain_disk_errors(work):
        for name in ("classifiers", "scripts"):
            (work / name).mkdir(exist_ok=True)
    _write_json(work / CLASSES_FILE, {"pathClasses": _path_classes(scored=project.scored)})
    script = run_script(project.files, _laid_maps(work, project), project.mpp, project.image_type, project.metadata)
    write_atomic(work / SCRIPT_FILE, script.encode())
    path = work / PROJECT_FILE
    _write_json(path, _project_json(final, project))
    return path


def _laid_maps(work: Path, project: QuPathProject) -> list[LaidMap]:
    """Return the maps that the script lays over the slide, in order."""
    laid = []
    for number, image in enumerate(project.maps, start=int(SLIDE_ENTRY) + 1):
        if image.shown is not None:
            mpp = MapStore.open(work / PurePosixPath(image.path)).mpp_map
            laid.append(LaidMap(str(number), image.name, image.shown, mpp.x / project.mpp.x, mpp.y / project.mpp.y))
    return laid


def _project_json(final: Path, project: QuPathProject) -> dict[str, Any]:
    """Return the content of the .qpproj file."""
    final = final.absolute()
    now_ms = time.time_ns() // 1_000_000
    name = printable(project.slide.name)
    images = [_entry(int(SLIDE_ENTRY), name, (project.slide, project.reader), project.metadata)]
    for number, image in enumerate(project.maps, start=int(SLIDE_ENTRY) + 1):
        metadata = {"Map of": name}
        images.append(_entry(number, image.name, (final / PurePosixPath(image.path), "bioformats"), metadata))
    return {
        "version": QUPATH_VERSION,
        "createTimestamp": now_ms,
        "modifyTimestamp": now_ms,
        "uri": (final / PROJECT_FILE).as_uri(),
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


def _path_classes(*, scored: bool) -> Sequence[dict[str, Any]]:
    """Return the project's classes with their colours packed as Java does: ARGB in a signed 32-bit integer."""
    return [
        {"name": name, "color": ((red << 16) | (green << 8) | blue) - (1 << 24)}
        for name, (red, green, blue) in qupath_classes(scored=scored)
    ]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented UTF-8 JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())
