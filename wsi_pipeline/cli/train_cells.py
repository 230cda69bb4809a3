"""`wsi-her2 train cells`: the network that finds nuclei."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def cells(
    nuclei: Annotated[
        Path, typer.Option(help="Photographs of nuclei: images/NAME.*, and labels/NAME.png with their numbers.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the network, its card, curve and checkpoint.")],
    real: Annotated[
        Path | None,
        typer.Option(help="Real tissue at 0.5 um/px: NAME.png beside NAME.epithelium.png (255: surely epithelium)."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Preset: NAME of configs/train_cells_NAME.yaml, or a YAML file.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override one setting; repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Train the network of cells on phantoms, recoloured nuclei and real tissue, and write it as ONNX with a card."""
    from wsi_pipeline.training.loop.extra import require_train_extra  # noqa: PLC0415 - keeps --help quick

    require_train_extra()
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415
    from wsi_pipeline.config import parse_override  # noqa: PLC0415
    from wsi_pipeline.training.cells.options import CellTraining  # noqa: PLC0415
    from wsi_pipeline.training.cells.run import CellRequest, train_cells  # noqa: PLC0415
    from wsi_pipeline.training.loop.settings import load_options  # noqa: PLC0415

    overrides = dict(parse_override(text) for text in set_ or [])
    options = load_options(CellTraining, "cells", config, overrides)
    with reporter() as report:
        figures = train_cells(CellRequest(nuclei, real, options, out, resume, report.show))
    told = "\n".join(f"{name}: {value:.3f}" for name, value in figures.items())
    sys.stderr.write(f"{told}\nnetwork and card: {out}\n")
