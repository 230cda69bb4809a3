"""The options that every command which scores slides takes, and the settings that they make."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsi_pipeline.cli.networks import overrides as network_overrides

if TYPE_CHECKING:
    from wsi_pipeline.config import Settings


class Stain(StrEnum):
    """What the slide is stained with."""

    auto = "auto"
    ihc = "ihc"
    he = "he"


class Reader(StrEnum):
    """What reads the slide."""

    auto = "auto"
    fast = "fast"
    openslide = "openslide"
    tiffslide = "tiffslide"
    image = "image"
    zarr = "zarr"


class Evidence(StrEnum):
    """What the score rests on."""

    auto = "auto"
    cells = "cells"
    tiles = "tiles"
    both = "both"


MppOption = Annotated[float | None, typer.Option(help="Pixel size of level 0 in um/px; wins over the file's own.")]
AssumeMppOption = Annotated[
    float | None, typer.Option(help="Pixel size in um/px where the file has none; stamped in the result.")
]
ReaderOption = Annotated[
    Reader, typer.Option(help="What reads the slide; auto: tiles decoded directly, checked against OpenSlide.")
]
StainOption = Annotated[Stain, typer.Option(help="Stain, if the detection errs.")]
AssayOption = Annotated[str | None, typer.Option(help="Assay profile: a name in configs/assays, or a YAML file.")]
EvidenceOption = Annotated[
    Evidence | None, typer.Option(help="What the score rests on; auto: cells, and a tile classifier beside them.")
]
WorkOption = Annotated[
    Path | None,
    typer.Option(help="Folder for copies of slides at URLs, and for results on their way to one."),
]
SchedulerOption = Annotated[str | None, typer.Option(help="Address of a running dask scheduler.")]
PresetOption = Annotated[str | None, typer.Option(help="Settings: a name in configs/, or a YAML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one setting, such as rule.min_cells=200; repeatable.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def run_settings(
    preset: str | None, set_: list[str] | None, assay: str | None, evidence: Evidence | None, **networks: str | None
) -> Settings:
    """Return the settings that the options make; `networks`: as `overrides` takes them. Raises UsageError."""
    from wsi_pipeline.config import load_settings, parse_override  # noqa: PLC0415 - keeps --help quick

    overrides: dict[str, Any] = dict(parse_override(text) for text in set_ or [])
    overrides |= network_overrides(**networks)
    if assay is not None:
        overrides["assay"] = assay
    if evidence is not None:
        overrides["evidence"] = evidence.value
    return load_settings(preset, overrides)
