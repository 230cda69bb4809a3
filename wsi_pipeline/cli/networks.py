"""The options that say which networks a command uses and how they are run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Stainer = Annotated[
    str | None, typer.Option(help="Weights that stain H&E virtually: a name of `wsi-her2 models list`, auto or none.")
]
Classifier = Annotated[
    str | None, typer.Option(help="Weights that classify tiles: a name of `wsi-her2 models list`, auto or none.")
]
WeightsFolder = Annotated[Path | None, typer.Option("--weights", help="Folder of weights to look in first.")]
Device = Annotated[str | None, typer.Option(help="Where networks run: auto, cpu, cuda or cuda:N.")]
Precision = Annotated[str | None, typer.Option(help="Numbers that networks compute in: auto, fp32, bf16 or fp16.")]
Backend = Annotated[str | None, typer.Option(help="Library that runs networks: auto, torch or openvino.")]


def overrides(**given: str | None) -> dict[str, Any]:
    """Return the settings `models.<name>` of the options that were given."""
    return {f"models.{name}": value for name, value in given.items() if value is not None}
