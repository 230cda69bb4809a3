"""`wsi-her2 study`: what virtual IHC is worth, as training material and by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wsi_pipeline.cli.networks import Device, WeightsFolder


def study(  # noqa: PLR0913, PLR0917 - the options of the command
    data: Annotated[
        str, typer.Option(help="Pairs of H&E and IHC with HER2 labels: BCI, an index (.csv, .parquet); or: phantoms.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the study.")],
    config: Annotated[
        str | None, typer.Option(help="Settings: NAME of configs/train_study_NAME.yaml (quick), or a YAML file.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    stainer: Annotated[
        str | None, typer.Option(help="Weights that stain; by default one is trained on the training pairs.")
    ] = None,
    weights: WeightsFolder = None,
    mpp: Annotated[float | None, typer.Option(help="Pixel size of the patches, um/px; 0.46 unless given.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights; must suit that of the data.")] = "not stated",
    device: Device = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in --out.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Train on real IHC, filter virtual IHC, retrain with what passed, and compare three accuracies."""
    from wsi_pipeline.training.loop.extra import require_train_extra  # noqa: PLC0415 - keeps --help quick

    require_train_extra()
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415
    from wsi_pipeline.config import parse_override  # noqa: PLC0415
    from wsi_pipeline.results import NOTICE  # noqa: PLC0415
    from wsi_pipeline.training.loop.settings import load_options  # noqa: PLC0415
    from wsi_pipeline.training.study.options import StudyOptions, StudyRequest  # noqa: PLC0415
    from wsi_pipeline.training.study.run import run_study  # noqa: PLC0415
    from wsi_pipeline.training.study.table import text  # noqa: PLC0415

    overrides = dict(parse_override(given) for given in set_ or [])
    overrides |= {"classifier.patches.mpp_in": mpp} if mpp is not None else {}
    options = load_options(StudyOptions, "study", config, overrides)
    with reporter() as report:
        request = StudyRequest(
            data, out, options, stainer, weights, licence, device or "auto", resume, report.show, report.say
        )
        table = run_study(request)
    sys.stderr.write(f"{text(table)}\n{NOTICE}\nreport: {out / 'report.html'}\n")
