"""Classifiers as folders that WSInfer and QuPath's WSInfer extension run: `config.json` and `torchscript_model.pt`.

The form is that of wsinfer-zoo (spec_version 1.0). Both programs apply softmax to the logits themselves.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.export_output import NOTICE, refuse_existing, write_new
from wsi_pipeline.models.load import LoadedModel
from wsi_pipeline.models.manifest import Architecture, Manifest

SPEC_VERSION = "1.0"
CONFIG, TORCHSCRIPT, CARD = "config.json", "torchscript_model.pt", "README.md"
"""Names by which WSInfer and QuPath look for configuration and network; Hugging Face shows the third."""

TIMM_NAMES: dict[Architecture, str] = {"ihcnet": "densenet201", "ihcnet-light": "tf_efficientnet_lite0"}
"""The trunk, as timm calls it; the schema asks for such a name, and nobody builds the network from it."""

MACHINE_NOTES = ".debug_pkl"
"""Entries of a TorchScript file that hold the paths of the source on this machine; no program needs them to run it."""


def export_wsinfer(model: LoadedModel, folder: Path) -> None:
    """Write `model` as a folder for WSInfer, with a model card.

    Raises UsageError for a generator or when `folder` exists, OutputError when it cannot be written.
    """
    manifest = model.manifest
    if not manifest.is_classifier:
        raise UsageError(
            manifest.name, f"is a generator ({manifest.architecture}), and WSInfer runs classifiers only",
            "use --format onnx",
        )  # fmt: skip
    refuse_existing(folder)
    config = json.dumps(wsinfer_config(manifest), indent=2, ensure_ascii=False) + "\n"
    files = {
        CONFIG: config.encode(),
        TORCHSCRIPT: torchscript(model.network, manifest.input_px),
        CARD: model_card(manifest).encode(),
    }
    write_new(folder, files)


def wsinfer_config(manifest: Manifest) -> dict[str, Any]:
    """Return `config.json` by wsinfer-zoo's schema: tile, pixel size, classes and torchvision transforms."""
    normalisation = manifest.normalisation
    return {
        "spec_version": SPEC_VERSION,
        "architecture": TIMM_NAMES[manifest.architecture],
        "num_classes": len(manifest.class_names),
        "class_names": list(manifest.class_names),
        "patch_size_pixels": manifest.tile_px,
        "spacing_um_px": manifest.mpp,
        "transform": [
            {"name": "Resize", "arguments": {"size": manifest.input_px}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": list(normalisation.mean), "std": list(normalisation.std)}},
        ],
    }


def torchscript(network: nn.Module, side_px: int) -> bytes:
    """Return `network` (eval, CPU) traced as TorchScript for any batch of normalised tiles (B, 3, side, side).

    Not frozen: WSInfer asks the parameters for their device.
    """
    buffer = io.BytesIO()
    jit: Any = torch.jit  # its functions have no types
    with warnings.catch_warnings(), torch.no_grad():
        # torch prefers torch.export by now (a DeprecationWarning, a FutureWarning), but WSInfer and QuPath do not
        warnings.filterwarnings("ignore", r".*torch\.jit\.")
        jit.save(jit.trace(network, torch.rand(1, 3, side_px, side_px)), buffer)
    return _without_machine_notes(buffer)


def model_card(manifest: Manifest) -> str:
    """Return the README of the folder: what people must know, and where WSInfer prepares tiles otherwise than we do."""
    side, tile = manifest.input_px, manifest.tile_px
    return f"""# {manifest.name}

{NOTICE}

- Architecture: {manifest.architecture}; classes {", ".join(manifest.class_names)}; the output is logits.
- Licence: {manifest.licence}
- Intended use: {manifest.intended_use}
- Training data: {manifest.training_data}
- Tiles: {tile} x {tile} px at {manifest.mpp:g} um/px, resized to {side} x {side} px.

In QuPath, put this folder into the user directory of the WSInfer extension. With WSInfer, name the two files:
`wsinfer run --config {CONFIG} --model-path {TORCHSCRIPT}` with your own folders.

wsi-her2 averages the slide down to {manifest.mpp:g} um/px and resizes the tile in floating point, bilinearly with
antialiasing. WSInfer lets Pillow resize what it read at the slide's own pixel size in one step and rounds to 8 bits;
QuPath resizes with Java. Probabilities differ slightly.
"""


def _without_machine_notes(saved: io.BytesIO) -> bytes:
    """Return a TorchScript file without the entries that name files of this machine."""
    kept = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(MACHINE_NOTES):
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
    return kept.getvalue()
