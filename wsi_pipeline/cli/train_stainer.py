"""`wsi-her2 train stainer`: a generator that turns H&E into virtual HER2 IHC, from pairs or phantoms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsi_pipeline.cli.networks import Device, WeightsFolder

if TYPE_CHECKING:
    from wsi_pipeline.models.manifest import ModelCard


def stainer(  # noqa: PLR0913, PLR0917 - the options of the command
    data: Annotated[str, typer.Option(help="Pairs: a folder as BCI or MIST have it, an index, or the word phantoms.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for weights, curves, card and checkpoints.")],
    name: Annotated[str, typer.Option(help="What the weights shall be called.")],
    architecture: Annotated[
        str | None, typer.Option(help="pspstain-light (processors) or pspstain; by default the preset's.")
    ] = None,
    config: Annotated[str, typer.Option(help="Settings: light, source, or a YAML file.")] = "light",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    init: Annotated[
        Path | None, typer.Option(help="Start from these weights (.safetensors) instead of chance.")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Pixel size of the pairs in a folder, um/px (0.46).")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights; must suit that of the data.")] = "not stated",
    marker: Annotated[str, typer.Option(help="What the pairs are stained for; a run takes stainers of HER2.")] = "HER2",
    classifier: Annotated[str | None, typer.Option(help="Weights that judge whether HER2 classes survive.")] = None,
    weights: WeightsFolder = None,
    device: Device = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pairs ahead of time.")] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Train a stainer, measure it beside two baselines, and write weights that `wsi-her2 run --weights` takes."""
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.config import parse_override  # noqa: PLC0415
    from wsi_pipeline.training.loop.extra import require_train_extra  # noqa: PLC0415
    from wsi_pipeline.training.loop.settings import load_options  # noqa: PLC0415
    from wsi_pipeline.training.stainer.options import StainerOptions  # noqa: PLC0415

    require_train_extra()
    given = dict(parse_override(text) for text in set_ or [])
    given |= {"architecture": architecture} if architecture is not None else {}
    options = load_options(StainerOptions, "stainer", config, given)
    from wsi_pipeline.training.stainer.run import StainerRequest, train_stainer  # noqa: PLC0415
    from wsi_pipeline.training.stainer.sources import open_pairs  # noqa: PLC0415

    pairs = open_pairs(data, options, mpp)
    card = _card(
        name=name,
        licence=licence,
        mpp=pairs.mpp,
        training_data=pairs.words,
        marker=marker,
        trained_on="real tissue" if pairs.saw_real_tissue else "phantoms",
    )
    with reporter() as report:
        request = StainerRequest(
            pairs.train, pairs.val, card, options, out, init, resume, device or "auto", workers, classifier, weights,
            report.show, report.say,
        )  # fmt: skip
        manifest = train_stainer(request)
    sys.stderr.write(f"{manifest.name}: {manifest.architecture}; {manifest.licence}.\nweights and card: {out}\n")


def _card(**facts: str | float) -> ModelCard:
    """Return the model card. Raises UsageError that quotes the first bad fact."""
    from pydantic import ValidationError  # noqa: PLC0415 - keeps --help quick

    from wsi_pipeline.errors import UsageError  # noqa: PLC0415
    from wsi_pipeline.models.manifest import ModelCard  # noqa: PLC0415

    try:
        return ModelCard.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]}", f"{first['input']!r}: {first['msg']}") from error
