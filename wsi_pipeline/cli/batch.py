"""`wsi-her2 batch`: score many slides."""

from __future__ import annotations

import sys
from collections import Counter
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
from wsi_pipeline.errors import EXIT_NOT_ALL, StoppedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_pipeline.flows.batch_request import BatchRequest
    from wsi_pipeline.flows.batch_rows import SlideRow
    from wsi_pipeline.storage import Address


def batch(  # noqa: PLR0913, PLR0917 - the options of the command
    inputs: Annotated[
        list[str],
        typer.Argument(help="Slides, folders (with all below), patterns in quotes, or CSV manifests; also at URLs."),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", help="Folder for the results; run again, it goes on there. Or a URL.")
    ] = "results",
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first N slides only, by name.")] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first slide that goes wrong.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the slides with estimated minutes and disk; score nothing.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again/--resume", help="Score slides once more that are done, or (as always) go on.")
    ] = False,
    mpp: MppOption = None,
    assume_mpp: AssumeMppOption = None,
    reader: ReaderOption = Reader.auto,
    stain: StainOption = Stain.auto,
    tumour: TumourOption = None,
    specimen: SpecimenOption = None,
    assay: AssayOption = None,
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
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Score all slides of INPUTS; one run folder each and a summary in OUT. Run again, it goes on where it stopped."""
    from wsi_pipeline.flows.batch_plan import plan_batch  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.batch_request import BatchRequest  # noqa: PLC0415
    from wsi_pipeline.flows.request import ScoreRequest  # noqa: PLC0415

    settings = run_settings(
        preset, set_, assay, evidence, rule_overrides(tumour, specimen),
        stainer=stainer, classifier=classifier, device=device, precision=precision, backend=backend,
    )  # fmt: skip
    home, target = _places(out, work)
    template = ScoreRequest(
        Path(), home, settings, mpp, assume_mpp, reader.value, stain.value, scheduler=scheduler, weights_folder=weights
    )
    slides = plan_batch(inputs, home, limit, target)
    request = BatchRequest(slides, home, template, fail_fast, again, target, work)
    if dry_run:
        _show_plan(request)
        return
    rows = _score(request)
    if not all(row.is_good for row in rows):
        raise typer.Exit(EXIT_NOT_ALL)


def _places(out: str, work: Path | None) -> tuple[Path, Address | None]:
    """Return the folder that the work is done in, and the URL of the results. Raises UsageError."""
    from wsi_pipeline.storage import Address, is_url, local_path  # noqa: PLC0415 - keeps --help quick

    if not is_url(out):
        return local_path(out), None
    if work is None:
        needed = "is needed when the results go to a URL"
        raise UsageError("--work", needed, "name a folder with room for the results; the same one goes on after a kill")
    return work, Address.of(out)


def _score(request: BatchRequest) -> Sequence[SlideRow]:
    """Score the slides and say how it went. Raises StoppedError after Ctrl-C."""
    from wsi_pipeline.cli.batch_view import batch_view  # noqa: PLC0415
    from wsi_pipeline.flows.batch import run_batch  # noqa: PLC0415
    from wsi_pipeline.results import NOTICE  # noqa: PLC0415

    try:
        with batch_view(len(request.slides)) as view:
            rows = run_batch(request, view)
    except KeyboardInterrupt as error:
        raise StoppedError(request.shown, "interrupted; what was done is kept", "the same command goes on") from error
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    sys.stderr.write(f"{len(rows)} slides: {told}. {NOTICE}\nresults: {request.summary_shown}\n")
    return rows


def _show_plan(request: BatchRequest) -> None:
    """Print what the batch would do and take."""
    from wsi_pipeline.export.atomic import free_bytes  # noqa: PLC0415
    from wsi_pipeline.flows.batch_estimate import estimate_batch  # noqa: PLC0415

    rates, estimates = estimate_batch(request)
    minutes, disk_bytes, fetch_bytes, counts = 0.0, 0, 0, Counter[str]()
    for slide in estimates:
        if slide.done or slide.problem:
            counts["done" if slide.done else "with problems"] += 1
            sys.stdout.write(f"{slide.name}: {slide.problem or 'done'}\n")
            continue
        counts["to score"] += 1
        if slide.fetch_bytes is not None:
            fetch_bytes += slide.fetch_bytes
            sys.stdout.write(f"{slide.name}: {slide.fetch_bytes / 1e6:,.1f} MB to fetch\n")
            continue
        minutes += slide.minutes
        disk_bytes += slide.disk_bytes
        size = f"{slide.slide_mm2:.1f} mm2, about {slide.minutes:.1f} min, {slide.disk_bytes / 1e6:,.0f} MB"
        sys.stdout.write(f"{slide.name}: {size}\n")
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    if fetch_bytes:
        told += f"; {fetch_bytes / 1e9:,.2f} GB to fetch of slides whose areas are not known yet, and for the others"
    sys.stdout.write(
        f"{len(request.slides)} slides: {told}; about {minutes:.0f} minutes and {disk_bytes / 1e9:.2f} GB of disk "
        f"({free_bytes(request.out) / 1e9:,.0f} GB are free). Estimated {rates.why}.\n"
    )
