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


class Tumour(StrEnum):
    """Whose rule is applied."""

    breast = "breast"
    gastroesophageal = "gastroesophageal"


class Specimen(StrEnum):
    """What was taken of a gastroesophageal tumour."""

    resection = "resection"
    biopsy = "biopsy"


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
TumourOption = Annotated[
    Tumour | None,
    typer.Option(help="Tumour whose rule is applied (default breast); gastroesophageal: CAP/ASCP/ASCO 2016."),
]
SpecimenOption = Annotated[
    Specimen | None,
    typer.Option(help="Of a gastroesophageal tumour: resection (default; 10 % of cells) or biopsy (5 cells together)."),
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


def rule_overrides(tumour: Tumour | None, specimen: Specimen | None) -> dict[str, Any]:
    """Return the settings that name the rule. Raises UsageError for a specimen without the tumour it matters for."""
    from wsi_pipeline.errors import UsageError  # noqa: PLC0415 - keeps --help quick

    if specimen is not None and tumour is not Tumour.gastroesophageal:
        raise UsageError(
            f"--specimen {specimen.value}", "only matters for gastroesophageal tumours", "add --tumour gastroesophageal"
        )
    chosen = {"rule.tumour": tumour, "rule.specimen": specimen}
    return {name: value.value for name, value in chosen.items() if value is not None}


def run_settings(
    preset: str | None,
    set_: list[str] | None,
    assay: str | None,
    evidence: Evidence | None,
    rule: dict[str, Any],
    **networks: str | None,
) -> Settings:
    """Return the settings that the options make; `rule`: as `rule_overrides` returns them.

    `networks`: as `overrides` takes them. Raises UsageError.
    """
    from wsi_pipeline.config import load_settings, parse_override  # noqa: PLC0415 - keeps --help quick

    overrides: dict[str, Any] = dict(parse_override(text) for text in set_ or [])
    overrides |= network_overrides(**networks)
    overrides |= rule
    if assay is not None:
        overrides["assay"] = assay
    if evidence is not None:
        overrides["evidence"] = evidence.value
    return load_settings(preset, overrides)
