"""`wsi-her2 run`: score one slide."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsi_pipeline.cli.networks import Backend, Classifier, Device, Precision, Stainer, WeightsFolder
from wsi_pipeline.cli.slide_options import (
    AssayOption,
    AssumeMppOption,
    DebugOption,
    EvidenceOption,
    MppOption,
    PresetOption,
    Reader,
    ReaderOption,
    SchedulerOption,
    SetOption,
    SpecimenOption,
    Stain,
    StainOption,
    TumourOption,
    WorkOption,
    rule_overrides,
    run_settings,
)
from wsi_pipeline.errors import EXIT_NOT_EVALUABLE, EXIT_SCORED, UsageError, WeightsError

if TYPE_CHECKING:
    from wsi_pipeline.config import Settings
    from wsi_pipeline.flows.request import ScoreRequest
    from wsi_pipeline.results import Result


def run(  # noqa: PLR0913, PLR0917 - the options of the command
    slide: Annotated[str, typer.Argument(help="Slide or image file, or a URL such as s3://bucket/slide.svs.")],
    out: Annotated[str, typer.Option("-o", "--out", help="New folder for the results, or a URL.")] = "results",
    mpp: MppOption = None,
    assume_mpp: AssumeMppOption = None,
    reader: ReaderOption = Reader.auto,
    stain: StainOption = Stain.auto,
    tumour: TumourOption = None,
    specimen: SpecimenOption = None,
    assay: AssayOption = None,
    roi: Annotated[str | None, typer.Option(help="GeoJSON of drawn tumour, as QuPath exports it.")] = None,
    pieces: Annotated[str | None, typer.Option(help="Numbers of the tissue pieces to score, such as 1,3.")] = None,
    evidence: EvidenceOption = None,
    stainer: Stainer = None,
    classifier: Classifier = None,
    weights: WeightsFolder = None,
    device: Device = None,
    precision: Precision = None,
    backend: Backend = None,
    scheduler: SchedulerOption = None,
    work: WorkOption = None,
    preset: PresetOption = None,
    set_: SetOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print result.json on stdout.")] = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Score SLIDE and write score, tables, maps and a QuPath project to a new folder."""
    settings = run_settings(
        preset, set_, assay, evidence, rule_overrides(tumour, specimen),
        stainer=stainer, classifier=classifier, device=device, precision=precision, backend=backend,
    )  # fmt: skip
    with _machine_asked(settings):
        from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
        from wsi_pipeline.flows.anywhere import score_anywhere  # noqa: PLC0415
        from wsi_pipeline.flows.request import ScoreRequest  # noqa: PLC0415

        with reporter() as report:
            request = ScoreRequest(
                Path(), Path(), settings, mpp, assume_mpp, reader.value, stain.value, None, _pieces(pieces), scheduler,
                weights, report.show, report.say,
            )  # fmt: skip
            scored = score_anywhere(_placed(request, slide, out, roi), work)
    result = scored.result
    for warning in result.warnings:
        sys.stderr.write(f"note: {warning}\n")
    sys.stderr.write(f"{_sentence(result)}\nread by: {result.slide.reader}\nresults: {scored.where}\n")
    if json_:
        sys.stdout.write(scored.record)
    raise typer.Exit(EXIT_NOT_EVALUABLE if result.score == "not evaluable" else EXIT_SCORED)


def _machine_asked(settings: Settings) -> AbstractContextManager[None]:
    """Have another process look at devices and OpenVINO, where a run may want to know, while this one imports."""
    from wsi_pipeline.models.extra import require_models_extra  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.models.machine import asked_ahead  # noqa: PLC0415

    wanted = settings.evidence != "cells" and settings.models.classifier != "none"
    if not wanted:
        return nullcontext()
    try:
        require_models_extra()
    except WeightsError:
        return nullcontext()
    return asked_ahead()


def _placed(request: ScoreRequest, slide: str, out: str, roi: str | None) -> ScoreRequest:
    """Return the request with its places: paths, and what lies at URLs. Raises OutputError."""
    from wsi_pipeline.flows.anywhere import destination_of  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.storage import Address, RemotePath, is_url, local_path  # noqa: PLC0415

    return replace(
        request,
        slide=Path() if is_url(slide) else local_path(slide),
        origin=RemotePath.alone(Address.of(slide)) if is_url(slide) else None,
        out=Path() if is_url(out) else local_path(out),
        destination=destination_of(out) if is_url(out) else None,
        roi=None if roi is None or is_url(roi) else local_path(roi),
        roi_origin=RemotePath.alone(Address.of(roi)) if roi is not None and is_url(roi) else None,
    )


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
    tumour = "" if result.tumour == "breast" else f" by the rule of {result.tumour} tumours, {result.specimen}"
    shares = ", ".join(f"{name} {value:.1f} %" for name, value in result.shares.items())
    border = " borderline" if result.borderline else ""
    counted = f"{result.cells.tumour} tumour cells" if result.cells.tumour else "the classified tissue"
    return (
        f"HER2 {result.score} ({result.category}{border}){tumour}: {result.reason}. {shares} of {counted}; "
        f"H-score {result.h_score:.0f}. Evidence: {result.evidence}{_agreement(result)}; confidence "
        f"{result.confidence}{_why(result)}. {result.notice}"
    )


def _why(result: Result) -> str:
    """Return what takes confidence."""
    return f" ({'; '.join(result.confidence_reasons)})" if result.confidence_reasons else ""


def _agreement(result: Result) -> str:
    """Return whether the classifier concurs, where cells and tiles were looked at."""
    if result.tiles is None or result.evidence != "cells and tiles":
        return ""
    return f" (the tile classifier says {result.tiles.score}: {result.agreement})"
