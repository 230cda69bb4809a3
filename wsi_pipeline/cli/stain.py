"""`wsi-her2 stain`: a virtual HER2 IHC of an H&E slide."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wsi_pipeline.cli.networks import Backend, Device, Precision, Stainer, WeightsFolder, overrides


class HeStain(StrEnum):
    """Whether to trust the detection of the stain."""

    auto = "auto"
    he = "he"


class Statistics(StrEnum):
    """Where the statistics of instance normalisation hold."""

    slide = "slide"
    grid = "grid"


def stain(  # noqa: PLR0913, PLR0917 - the options of the command
    slide: Annotated[Path, typer.Argument(help="H&E slide or image file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the results.")] = Path("results"),
    stainer: Stainer = None,
    weights: WeightsFolder = None,
    mpp: Annotated[float | None, typer.Option(help="Pixel size of level 0 in um/px; wins over the file's own.")] = None,
    assume_mpp: Annotated[float | None, typer.Option(help="Pixel size in um/px where the file has none.")] = None,
    stain_is: Annotated[HeStain, typer.Option("--stain", help="he: stain it whatever it looks like.")] = HeStain.auto,
    statistics: Annotated[
        Statistics | None, typer.Option(help="Instance normalisation: one set for the slide, or local ones on a grid.")
    ] = None,
    ome_tiff: Annotated[bool, typer.Option("--ome-tiff", help="Write a pyramidal OME-TIFF (JPEG) as well.")] = False,
    device: Device = None,
    precision: Precision = None,
    backend: Backend = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running dask scheduler.")] = None,
    preset: Annotated[str | None, typer.Option(help="Settings: a name in configs/, or a YAML file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Infer a HER2 IHC image from an H&E slide and write it as a pyramid, with a QuPath project that shows both."""
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.config import load_settings, parse_override  # noqa: PLC0415
    from wsi_pipeline.flows.stain import StainRequest, stain_slide  # noqa: PLC0415
    from wsi_pipeline.models.extra import require_models_extra  # noqa: PLC0415

    require_models_extra()
    given = dict(parse_override(text) for text in set_ or [])
    given |= overrides(stainer=stainer, device=device, precision=precision, backend=backend)
    if statistics is not None:
        given["models.statistics"] = statistics.value
    settings = load_settings(preset, given)
    with reporter() as report:
        request = StainRequest(
            slide, out, settings, weights, mpp, assume_mpp, stain_is.value, ome_tiff, scheduler, report.show, report.say
        )  # fmt: skip
        record, folder = stain_slide(request)
    model = record["model"]
    sys.stderr.write(f"{record['notice']} Stainer: {model['name']}; {model['licence']}.\nresults: {folder}\n")
