"""Networks as ONNX files, which carry their normalisation inside and their manifest in the metadata."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from wsi_pipeline.errors import UsageError, WeightsError
from wsi_pipeline.installation import install_line
from wsi_pipeline.models.export_output import NOTICE, refuse_existing, write_new
from wsi_pipeline.models.load import LoadedModel
from wsi_pipeline.models.manifest import Manifest, Normalisation
from wsi_pipeline.models.pspstain import SIDE_MULTIPLE, SMALLEST_SIDE

PACKAGES = ("onnx", "onnxscript")
"""What torch's exporter needs beyond torch: the extra `onnx`."""

OPSET = 18
"""The operator set that torch's exporter writes without converting; onnxruntime 1.14 and later run it."""

INPUT = "image"
TRACED_BATCH = 2
TRACED_WINDOW_PX = (64, 96)
"""Height and width of the generator's window that is traced; not square, so that no side is taken for the other."""

OWN_STATISTICS = "Each window is normalised by itself (InstanceNorm), so windows of one slide leave seams."


class FromRgb(nn.Module):
    """A network with its normalisation: RGB 0-1 in; logits out, or RGB 0-1 of a generator."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalisation: Normalisation, *, to_rgb: bool) -> None:
        """Wrap `network`, whose output lies in [-1, 1] when it is brought `to_rgb`."""
        super().__init__()
        self.network = network
        self.to_rgb = to_rgb
        self.register_buffer("mean", torch.tensor(normalisation.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalisation.std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, classes) or RGB (B, 3, H, W) of `image` (B, 3, H, W), RGB 0-1."""
        answer: Tensor = self.network((image - self.mean) / self.std)
        return (answer + 1) / 2 if self.to_rgb else answer


def export_onnx(model: LoadedModel, path: Path) -> None:
    """Write `model` as one ONNX file: any batch, and for a generator any sides that are multiples of 4 px.

    Raises UsageError when `path` exists or has another ending, WeightsError when the extra `onnx` is not installed,
    OutputError when the file cannot be written.
    """
    _require_onnx_extra()
    if path.suffix != ".onnx":
        raise UsageError(path, "must end in .onnx", "name a file for -o")
    refuse_existing(path)
    manifest = model.manifest
    wrapped = FromRgb(model.network, manifest.normalisation, to_rgb=not manifest.is_classifier).eval()
    height, width = (manifest.input_px, manifest.input_px) if manifest.is_classifier else TRACED_WINDOW_PX
    program = _program(wrapped, torch.rand(TRACED_BATCH, 3, height, width), manifest)
    _forget_source(program.model.graph)
    program.model.doc_string = NOTICE
    program.model.metadata_props.update(metadata(manifest))
    write_new(path, program.model_proto.SerializeToString())


def _program(wrapped: nn.Module, example: Tensor, manifest: Manifest) -> Any:
    """Return what torch's exporter makes of `wrapped`, traced with `example` (B, 3, H, W)."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # the exporter warns of its own calls (torch 2.11)
            warnings.simplefilter("ignore", category)
        return torch.onnx.export(
            wrapped,
            (example,),
            dynamo=True,
            dynamic_shapes={INPUT: _free_sides(manifest)},
            input_names=[INPUT],
            output_names=[output_name(manifest)],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )


def output_name(manifest: Manifest) -> str:
    """Return the name of the file's output."""
    return "logits" if manifest.is_classifier else "stained"


def metadata(manifest: Manifest) -> dict[str, str]:
    """Return the file's metadata: what people must know, what goes in and comes out, and the whole manifest as JSON."""
    if manifest.is_classifier:
        side, tile = manifest.input_px, manifest.tile_px
        shape = f"(B, 3, {side}, {side}); tiles of {tile} x {tile} px resized bilinearly with antialiasing"
        comes_out = f"logits (B, {len(manifest.class_names)}) in the order of class_names; softmax gives probabilities"
    else:
        shape = f"(B, 3, H, W); H and W multiples of {SIDE_MULTIPLE}, at least {SMALLEST_SIDE}"
        comes_out = "RGB float32 0-1, the shape of the input"
    facts: dict[str, Any] = {
        "name": manifest.name,
        "architecture": manifest.architecture,
        "notice": NOTICE,
        "licence": manifest.licence,
        "intended_use": manifest.intended_use,
        "training_data": manifest.training_data,
        "mpp": manifest.mpp,
        "input": f"RGB float32 0-1, {shape}",
        "output": comes_out,
        "class_names": list(manifest.class_names),
        "normalisation": {**manifest.normalisation.model_dump(), "applied": "inside the file"},
        "windows": window_note(manifest),
        "manifest": manifest.model_dump(mode="json"),
    }
    texts = {key: fact if isinstance(fact, str) else json.dumps(fact) for key, fact in facts.items()}
    return {key: text for key, text in texts.items() if text}


def window_note(manifest: Manifest) -> str:
    """Return what people must know who cut a slide into windows, or nothing."""
    return OWN_STATISTICS if manifest.architecture == "pspstain" else ""


def _free_sides(manifest: Manifest) -> dict[int, Any]:
    """Return the dimensions that may change from call to call."""
    batch = {0: Dim("batch", min=1)}
    if manifest.is_classifier:
        return batch
    least = SMALLEST_SIDE // SIDE_MULTIPLE
    quarter_height, quarter_width = (Dim(f"quarter_{side}", min=least) for side in ("height", "width"))
    return {**batch, 2: SIDE_MULTIPLE * quarter_height, 3: SIDE_MULTIPLE * quarter_width}


def _forget_source(graph: Any) -> None:
    """Drop what the exporter notes of its own source: paths on this machine have no place in a published file."""
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None


def _require_onnx_extra() -> None:
    """Raise WeightsError with the command to type when the exporter's packages are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise WeightsError(", ".join(missing), f"{verb} not installed", f"type: {install_line('onnx')}")
