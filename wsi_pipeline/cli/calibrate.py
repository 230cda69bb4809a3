"""`wsi-her2 calibrate`: an assay profile from a few labelled images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from wsi_pipeline.flows.calibrate import Calibration


def calibrate(  # noqa: PLR0913, PLR0917 - the options of the command
    labels: Annotated[
        Path, typer.Option(help="CSV with columns path (image or run folder) and score; also mpp, patient.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New profile, a .yaml file.")] = Path("assay.yaml"),
    assay: Annotated[
        str | None, typer.Option(help="Profile to start from: a name in configs/assays, or a YAML file.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the new profile; that of the file if not given.")] = "",
    antibody: Annotated[str, typer.Option(help="Clone, such as 4B5.")] = "unspecified",
    scanner: Annotated[str, typer.Option(help="Scanner of the images.")] = "unspecified",
    faint: Annotated[
        list[float] | None,
        typer.Option(help="Least height of a membrane to try, OD; repeatable. Images are measured once for each."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Settings: a name in configs/, or a YAML file.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Fit the cut-offs of an assay profile to labelled images and report the agreement on images left out."""
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.config import load_settings, parse_override  # noqa: PLC0415
    from wsi_pipeline.flows.calibrate import CalibrateRequest, write_profile  # noqa: PLC0415
    from wsi_pipeline.flows.calibrate import calibrate as fit  # noqa: PLC0415
    from wsi_pipeline.results import NOTICE  # noqa: PLC0415

    overrides = dict(parse_override(text) for text in set_ or [])
    if assay is not None:
        overrides["assay"] = assay
    settings = load_settings(preset, overrides)
    with reporter() as report:
        request = CalibrateRequest(
            labels, out, settings, name, antibody, scanner, tuple(faint or ()), progress=report.show, say=report.say
        )
        found = fit(request)
        profile, details = write_profile(found, request)
    for warning in found.warnings:
        sys.stderr.write(f"note: {warning}\n")
    sys.stderr.write(f"{_summary(found)}{NOTICE}\nprofile: {profile}\nreport: {details}\n")


def _summary(found: Calibration) -> str:
    """Return the images with their scores, the agreement and the cut-offs as lines."""
    from wsi_pipeline.flows.evaluate_figures import words  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.scoring.evidence import SCORES  # noqa: PLC0415

    width = max(len(image.label.name) for image in found.images)
    lines = [f"{'image':<{width}}  label  start  fitted  left out"]
    for image, *scores in zip(found.images, found.start, found.fitted, found.held_out, strict=True):
        start, fitted, held = (SCORES[score] for score in scores)
        lines.append(f"{image.label.name:<{width}}  {SCORES[image.label.label]:<5}  {start:<5}  {fitted:<6}  {held}")
    for name in ("accuracy, four classes", "quadratic kappa"):
        for kind in ("start", "fitted", "held_out"):
            lines.append(f"{name}, {kind.replace('held_out', 'left out')}: {words(found.agreement[kind][name])}")
    profile = found.profile
    lines.append(
        f"cut-offs: faint {profile.faint:g}, moderate {profile.moderate:g}, intense {profile.intense:g} OD; "
        f"stained {profile.stained:g}, complete {profile.complete:g} of the directions"
    )
    return "".join(f"{line}\n" for line in lines)
