"""From pictures to a network of cells that can be used: draw, train, fold, measure, write."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml

from wsi_pipeline.errors import UsageError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.models.cell_network import NAME, CellNetwork, CellWeights, file_sha256
from wsi_pipeline.models.cellnet import CellNet, example, folded
from wsi_pipeline.training.cells.evaluation import evaluate
from wsi_pipeline.training.cells.options import CellTraining
from wsi_pipeline.training.cells.recolour import read_photographs
from wsi_pipeline.training.cells.samples import Material, read_real
from wsi_pipeline.training.cells.scenes import Scene, draw_scene
from wsi_pipeline.training.cells.trainer import CellTrainer, Show

FIRST_SCENE, FIRST_UNSEEN_SCENE, UNSEEN_SCENES = 5_000, 9_000, 12
"""Seeds of the phantoms that are trained with, and of those that are not."""

OPSET = 17


class CellRequest(NamedTuple):
    """What CellNet is trained with, and where it ends up."""

    nuclei: Path
    """Folder of photographed nuclei: `images`, `labels`."""
    real: Path | None
    """Folder of real tissue with its epithelium."""
    options: CellTraining
    folder: Path
    resume: bool = False
    show: Show = lambda _stage, _done, _total: None


def train_cells(request: CellRequest) -> dict[str, float]:
    """Train, write `cellnet.onnx`, `cellnet.md`, `settings.yaml` and `steps.csv`, and return the held-out figures.

    Raises UsageError, WeightsError, OutputError, ResourceError.
    """
    folder, options = request.folder, request.options
    if (folder / "checkpoint.pt").exists() and not request.resume:
        raise UsageError(folder, "holds a training already", "go on with --resume, or choose another --out")
    photographs, held_out = read_photographs(request.nuclei)
    real = read_real(request.real)
    with plain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    scenes = _scenes(FIRST_SCENE, options.scenes, options.scene_px, request.show)
    identity = {
        **options.model_dump(mode="json", exclude={"checkpoint_steps"}),
        "photographs": len(photographs), "real": len(real),
    }  # fmt: skip
    trainer = CellTrainer(Material(scenes, photographs, real), options, identity, folder)
    network = trainer.train(resume=request.resume, show=request.show)
    path = folder / f"{NAME}.onnx"
    write_network(network, path)
    unseen = _scenes(FIRST_UNSEEN_SCENE, UNSEEN_SCENES, options.scene_px, request.show)
    figures = evaluate(CellNetwork(CellWeights(path, file_sha256(path))), held_out, unseen)
    write_atomic(folder / "settings.yaml", yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False).encode())
    write_atomic(folder / f"{NAME}.md", _card(request, len(photographs), len(held_out), len(real), figures).encode())
    return figures


def write_network(network: CellNet, path: Path) -> None:
    """Write a network, folded, as ONNX whose batch, height and width are free. Raises OutputError, ResourceError."""
    axes = {0: "n", 2: "h", 3: "w"}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the exporter's own future
        torch.onnx.export(
            folded(network), (example(),), cast("Any", buffer), opset_version=OPSET, dynamo=False,
            input_names=["density"], output_names=["maps"], dynamic_axes={"density": axes, "maps": axes},
        )  # fmt: skip
    write_atomic(path, buffer.getvalue())


def _scenes(first: int, count: int, side_px: int, show: Show) -> list[Scene]:
    """Return drawn scenes that hold nuclei, by seeds from `first` on."""
    found = []
    for number in range(count):
        scene = draw_scene(first + number, side_px)
        if scene.nuclei.max() >= 15:
            found.append(scene)
        show("phantoms", number + 1, count)
    return found


def _card(request: CellRequest, photographs: int, held_out: int, real: int, figures: dict[str, float]) -> str:
    """Return the card: what it was trained with, and what it is worth."""
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items())
    seen = f"{real} pictures of real tissue, of which only epithelium was told" if real else "no real tissue"
    options = request.options
    return f"""# {NAME}

A network of 205,012 weights that sees nuclei, membranes and epithelium in H-DAB at 0.5 um/px.
Research use only, not for diagnosis.

Trained {options.steps} steps on {options.scenes} phantoms, {photographs} photographs of nuclei recoloured to H-DAB,
and {seen}.

| figure | value |
|---|---|
{rows}

Photographs: every seventh of the set was held out ({held_out}), and recoloured alike; phantoms: seeds that no training
saw.
"""
