"""`wsi-her2 models`: which weights there are, what they are, whether they are sound; checkpoints in, exports out."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsi_pipeline.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from wsi_pipeline.models.manifest import Manifest, ModelCard
    from wsi_pipeline.models.registry import Weights

app = typer.Typer(help="List, show, verify, import and export the weights of networks. Nothing is ever downloaded.")

IMPORT_HINT = (
    "add a checkpoint: wsi-her2 models import FILE --name NAME --licence LICENCE --mpp UM_PER_PX "
    '[--marker HER2 --trained-on "real tissue"]'
)
SOUND = "hash, tensors and fixture outputs agree"

Folder = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder of weights, before WSI_HER2_WEIGHTS (or ~/.wsi-her2/weights) and our own."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class ExportFormat(StrEnum):
    """What other programs take."""

    onnx = "onnx"
    wsinfer = "wsinfer"


class TrainedOn(StrEnum):
    """What weights saw while they were trained."""

    real_tissue = "real tissue"
    phantoms = "phantoms"
    unknown = "unknown"


@app.command("list")
def list_(weights: Folder = None, debug: Debug = False) -> None:  # noqa: ARG001
    """List all weights: name, architecture, licence, and whether the file is the one that the manifest describes."""
    from wsi_pipeline.models.manifest import ARCHITECTURES, read_manifest  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.models.registry import Weights, manifest_paths, weights_folders  # noqa: PLC0415

    rows: list[tuple[str, ...]] = [("name", "architecture", "licence", "verified")]
    present = set()
    for name, path in manifest_paths(weights).items():
        try:
            found = Weights(read_manifest(path), path.parent)
            manifest = found.manifest
            present.add(manifest.architecture)
            rows.append((name, manifest.architecture, manifest.licence, _hash_verdict(found)))
        except WeightsError as error:
            rows.append((name, "?", "?", f"no: {error.problem}"))
    _print_table(rows if len(rows) > 1 else [])
    missing = [architecture for architecture in ARCHITECTURES if architecture not in present]
    if missing:
        places = ", ".join(str(folder) for folder in weights_folders(weights))
        sys.stdout.write(f"no weights of {', '.join(missing)} in {places}\n{IMPORT_HINT}\n")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of the weights.")],
    weights: Folder = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show the manifest of some weights."""
    from wsi_pipeline.models.registry import find_weights  # noqa: PLC0415 - keeps --help quick

    found = find_weights(name, weights)
    facts = found.manifest.model_dump(mode="json", exclude={"fixture", "format"})
    fixture = found.manifest.fixture
    facts["fixture"] = f"{len(fixture.expected)} tiles, outputs known to {fixture.tolerance:g}"
    facts["file"] = str(found.tensors)
    width = max(len(field) for field in facts)
    for field, value in facts.items():
        sys.stdout.write(f"{field:<{width}}  {_text(value)}\n")


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="Name of the weights; all of them when left out.")] = None,
    weights: Folder = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Check hash, tensors and fixture outputs; end with 11 when any weights fail."""
    from wsi_pipeline.models.extra import require_models_extra  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.models.registry import manifest_paths, weights_folders  # noqa: PLC0415

    require_models_extra()
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415

    if name is not None:
        load_model(name, weights)
        sys.stdout.write(f"{name}: {SOUND}\n")
        return
    names = list(manifest_paths(weights))
    if not names:
        places = ", ".join(str(folder) for folder in weights_folders(weights))
        raise WeightsError("models verify", f"there are no weights in {places}", IMPORT_HINT)
    failures = 0
    for each in names:
        try:
            load_model(each, weights)
            sys.stdout.write(f"{each}: {SOUND}\n")
        except WeightsError as error:
            failures += 1
            sys.stdout.write(f"{each}: FAILED: {error.problem}\n")
    if failures:
        raise WeightsError("models verify", f"{failures} of {len(names)} weights failed")


@app.command("import")
def import_(  # noqa: PLR0913, PLR0917 - one option per fact
    file: Annotated[Path, typer.Argument(help="Checkpoint: .pth, .pt or .safetensors.")],
    name: Annotated[str, typer.Option(help="What the weights shall be called.")],
    licence: Annotated[str, typer.Option(help="Licence of the weights.")],
    mpp: Annotated[float, typer.Option(help="Pixel size the network was trained at, um/px.")],
    marker: Annotated[
        str | None, typer.Option(help="What a stainer stains: HER2, Ki67, ER, ...; needed for every stainer.")
    ] = None,
    trained_on: Annotated[
        TrainedOn, typer.Option(help="Unless it saw real tissue, nothing is scored on what a stainer stains.")
    ] = TrainedOn.unknown,
    training_data: Annotated[str, typer.Option(help="What it was trained on, in words.")] = "unknown",
    intended_use: Annotated[str, typer.Option(help="What it is for.")] = "Research use only, not for diagnosis.",
    features_relu: Annotated[bool, typer.Option(help="IHCNet whose weights come from Keras.")] = False,
    weights: Annotated[Path | None, typer.Option("--weights", help="Folder to write to; made when absent.")] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Check a checkpoint and write it as weights with a manifest. Nothing in the file is executed."""
    from wsi_pipeline.models.extra import require_models_extra  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.models.registry import user_folder  # noqa: PLC0415

    card = _card(
        name=name, licence=licence, mpp=mpp, marker=marker, trained_on=trained_on.value, training_data=training_data,
        intended_use=intended_use, features_relu=features_relu,
    )  # fmt: skip
    require_models_extra()
    from wsi_pipeline.models.importing import import_checkpoint  # noqa: PLC0415

    folder = weights if weights is not None else user_folder()
    manifest: Manifest = import_checkpoint(file, card, folder)
    sys.stdout.write(f"{manifest.name}: {manifest.architecture}, written to {folder}\n")


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Name of the weights.")],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="onnx: a file; wsinfer: a folder for WSInfer and QuPath.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New file (.onnx) or folder; nothing is overwritten.")],
    weights: Folder = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write some weights, verified first, in a form that other programs run."""
    from wsi_pipeline.models.extra import require_models_extra  # noqa: PLC0415 - keeps --help quick

    require_models_extra()
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415

    model = load_model(name, weights)
    if form is ExportFormat.wsinfer:
        from wsi_pipeline.models.export_wsinfer import CONFIG, TORCHSCRIPT, export_wsinfer  # noqa: PLC0415

        export_wsinfer(model, out)
        sys.stdout.write(f"{name}: {CONFIG} and {TORCHSCRIPT} for WSInfer and QuPath, written to {out}\n")
        return
    from wsi_pipeline.models.export_onnx import OPSET, export_onnx, metadata  # noqa: PLC0415

    export_onnx(model, out)
    sys.stdout.write(f"{name}: ONNX, opset {OPSET}, written to {out}\n")
    facts = metadata(model.manifest)
    for field in ("input", "output", "windows"):
        if field in facts:
            sys.stdout.write(f"{field}: {facts[field]}\n")


def _card(**facts: str | float | bool | None) -> ModelCard:
    """Return the model card of the options. Raises UsageError that quotes the first bad one."""
    from pydantic import ValidationError  # noqa: PLC0415 - keeps --help quick

    from wsi_pipeline.models.manifest import ModelCard  # noqa: PLC0415

    try:
        return ModelCard.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        raise UsageError(option, f"{first['input']!r}: {first['msg']}") from error


def _hash_verdict(found: Weights) -> str:
    """Return "yes" when the tensors have the manifest's hash, else what is wrong."""
    try:
        found.read()
    except WeightsError as error:
        return f"no: {error.problem}"
    return "yes (sha256)"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns, the first row being the heading."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _text(value: object) -> str:
    """Return a value as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return str(value)
