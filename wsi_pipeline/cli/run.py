"""`wsi-her2 run`: score one slide."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsi_pipeline.cli.networks import Backend, Classifier, Device, Precision, Stainer, WeightsFolder
from wsi_pipeline.cli.networks import overrides as network_overrides
from wsi_pipeline.errors import EXIT_NOT_EVALUABLE, EXIT_SCORED, UsageError

if TYPE_CHECKING:
    from wsi_pipeline.results import Result


class Stain(StrEnum):
    """What the slide is stained with."""

    auto = "auto"
    ihc = "ihc"
    he = "he"


class Reader(StrEnum):
    """Which library reads the slide."""

    auto = "auto"
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


def run(  # noqa: PLR0913, PLR0917 - the options of the command
    slide: Annotated[Path, typer.Argument(help="Slide or image file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the results.")] = Path("results"),
    mpp: Annotated[float | None, typer.Option(help="Pixel size of level 0 in um/px; wins over the file's own.")] = None,
    assume_mpp: Annotated[
        float | None, typer.Option(help="Pixel size in um/px where the file has none; stamped in the result.")
    ] = None,
    reader: Annotated[Reader, typer.Option(help="Library that reads the slide.")] = Reader.auto,
    stain: Annotated[Stain, typer.Option(help="Stain, if the detection errs.")] = Stain.auto,
    assay: Annotated[str | None, typer.Option(help="Assay profile: a name in configs/assays, or a YAML file.")] = None,
    roi: Annotated[Path | None, typer.Option(help="GeoJSON of drawn tumour, as QuPath exports it.")] = None,
    pieces: Annotated[str | None, typer.Option(help="Numbers of the tissue pieces to score, such as 1,3.")] = None,
    evidence: Annotated[
        Evidence | None, typer.Option(help="What the score rests on; auto: cells, and a tile classifier beside them.")
    ] = None,
    stainer: Stainer = None,
    classifier: Classifier = None,
    weights: WeightsFolder = None,
    device: Device = None,
    precision: Precision = None,
    backend: Backend = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running dask scheduler.")] = None,
    preset: Annotated[str | None, typer.Option(help="Settings: a name in configs/, or a YAML file.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override one setting, such as rule.min_cells=200; repeatable.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print result.json on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Score SLIDE and write score, tables, maps and a QuPath project to a new folder."""
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.config import load_settings, parse_override  # noqa: PLC0415
    from wsi_pipeline.flows.request import ScoreRequest  # noqa: PLC0415
    from wsi_pipeline.flows.score import score_slide  # noqa: PLC0415

    overrides = dict(parse_override(text) for text in set_ or [])
    overrides |= network_overrides(
        stainer=stainer, classifier=classifier, device=device, precision=precision, backend=backend
    )
    if assay is not None:
        overrides["assay"] = assay
    if evidence is not None:
        overrides["evidence"] = evidence.value
    settings = load_settings(preset, overrides)
    with reporter() as report:
        request = ScoreRequest(
            slide, out, settings, mpp, assume_mpp, reader.value, stain.value, roi, _pieces(pieces), scheduler, weights,
            report.show, report.say,
        )  # fmt: skip
        result, folder = score_slide(request)
    for warning in result.warnings:
        sys.stderr.write(f"note: {warning}\n")
    sys.stderr.write(f"{_sentence(result)}\nresults: {folder}\n")
    if json_:
        sys.stdout.write((folder / "result.json").read_text(encoding="utf-8"))
    raise typer.Exit(EXIT_NOT_EVALUABLE if result.score == "not evaluable" else EXIT_SCORED)


def _pieces(text: str | None) -> tuple[int, ...]:
    """Return the numbers in "1,3". Raises UsageError."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise UsageError(f"--pieces {text}", "is not a list of numbers", "for example --pieces 1,3") from error


def _sentence(result: Result) -> str:
    """Return the verdict in words."""
    if result.score == "not evaluable" or result.shares is None:
        return f"HER2 not evaluable: {result.reason}. {result.notice}"
    shares = ", ".join(f"{name} {value:.1f} %" for name, value in result.shares.items())
    border = " borderline" if result.borderline else ""
    counted = f"{result.cells.tumour} tumour cells" if result.cells.tumour else "the classified tissue"
    return (
        f"HER2 {result.score} ({result.category}{border}): {result.reason}. {shares} of {counted}; "
        f"H-score {result.h_score:.0f}. Evidence: {result.evidence}{_agreement(result)}; confidence "
        f"{result.confidence}. {result.notice}"
    )


def _agreement(result: Result) -> str:
    """Return whether the classifier concurs, where cells and tiles were looked at."""
    if result.tiles is None or result.evidence != "cells and tiles":
        return ""
    return f" (the tile classifier says {result.tiles.score}: {result.agreement})"
