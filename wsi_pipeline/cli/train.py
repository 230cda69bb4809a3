"""`wsi-her2 train`: networks from labelled patches or phantoms."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wsi_pipeline.cli.train_cells import cells
from wsi_pipeline.cli.train_stainer import stainer

app = typer.Typer(
    help="Train networks: checkpoints, curves and a model card. Killed anywhere, --resume goes on exactly."
)


class ClassifierArchitecture(StrEnum):
    """Networks that classify tiles."""

    light = "ihcnet-light"
    full = "ihcnet"


app.command("stainer")(stainer)
app.command("cells")(cells)


@app.command("classifier")
def classifier(  # noqa: PLR0913, PLR0917 - the options of the command
    data: Annotated[
        str, typer.Option(help="Labelled patches: BCI, class folders, an index (.csv, .parquet); or: phantoms.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for weights, curves, card and checkpoints.")],
    name: Annotated[str, typer.Option(help="What the weights shall be called.")],
    architecture: Annotated[ClassifierArchitecture, typer.Option(help="Which network.")] = ClassifierArchitecture.light,
    config: Annotated[
        str | None, typer.Option(help="Preset: NAME of configs/train_classifier_NAME.yaml, or a YAML file.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from a checkpoint, ImageNet weights of the trunk, or: imagenet.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    mpp: Annotated[float | None, typer.Option(help="Pixel size of the patches, um/px; 0.46 unless given.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Train a classifier of IHC tiles (0, 1+, 2+, 3+) and write it as weights with a model card."""
    from wsi_pipeline.training.loop.extra import require_train_extra  # noqa: PLC0415 - keeps --help quick

    require_train_extra()
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415
    from wsi_pipeline.config import parse_override  # noqa: PLC0415
    from wsi_pipeline.training.classifier.options import ClassifierTraining  # noqa: PLC0415
    from wsi_pipeline.training.classifier.run import ClassifierRequest, train_classifier  # noqa: PLC0415
    from wsi_pipeline.training.classifier.sources import described_card, open_sources  # noqa: PLC0415
    from wsi_pipeline.training.loop.settings import load_options  # noqa: PLC0415

    overrides = dict(parse_override(text) for text in set_ or [])
    overrides |= {"patches.mpp_in": mpp} if mpp is not None else {}
    options = load_options(ClassifierTraining, "classifier", config, overrides)
    found = open_sources(data, options, out)
    with reporter() as report:
        request = ClassifierRequest(
            sources=found.sources, card=described_card(found, name, licence, init), architecture=architecture.value,
            options=options, folder=out, init=init, resume=resume, device=device, show=report.show, say=report.say,
        )  # fmt: skip
        manifest = train_classifier(request)
    figures = [f"{key}: {manifest.metrics[key]}" for key in ("validation accuracy", "validation quadratic kappa")]
    sys.stderr.write(f"{manifest.intended_use}\n{'; '.join(figures)}\nweights and card: {out}\n")
