"""The model card of a trained stainer, and the table of its measures beside the baselines'."""

from __future__ import annotations

import math
from collections.abc import Mapping

import yaml

from wsi_pipeline.models.manifest import Manifest
from wsi_pipeline.training.stainer.metrics import MEASURES
from wsi_pipeline.training.stainer.options import StainerOptions

Table = Mapping[str, Mapping[str, float]]
"""Method -> measure -> value."""

VIRTUAL = "virtual"
"""The method that is the generator itself."""

MEANINGS = {
    "ssim": "structural similarity to the real IHC, mean over pairs; 1 is equal",
    "psnr": "peak signal-to-noise ratio, dB, mean over pairs",
    "dab_pearson": "correlation of the mean DAB of tiles, virtual and real",
    "dab_kl": "divergence of the histogram of the mean DAB of tiles from the real one, nats; 0 is equal",
    "label_accuracy": "share of virtual tiles that the classifier gives the label of the pair",
    "label_agreement": "share of virtual tiles that the classifier gives the class of the real tile",
}

WARNING = (
    "Likeness of pixels hardly agrees with what pathologists see, and H&E does not say how much HER2 a cell makes: a "
    "plausible image may show a wrong amount. Judge by DAB and labels first."
)

BLIND = (
    "**Nothing in the H&E of the training pairs shows the HER2 class.** The stain it gives is an average over classes: "
    "it shows where membranes may lie, not how much HER2 they carry, and no slide is scored on it."
)


def manifest_metrics(table: Table) -> dict[str, float | str]:
    """Return the table as a manifest holds it: the stainer's values plain, the baselines' with their name."""
    metrics: dict[str, float | str] = {}
    for method, values in table.items():
        for measure in _measured(table):
            name = measure if method == VIRTUAL else f"{measure} ({method})"
            metrics[name] = round(values[measure], 4) if math.isfinite(values[measure]) else "not defined"
    return metrics


def table_csv(table: Table) -> bytes:
    """Return the table as CSV; empty where something could not be measured."""
    lines = [",".join(("method", *MEASURES))]
    for method, values in table.items():
        cells = (f"{values[name]:.6g}" if math.isfinite(values[name]) else "" for name in MEASURES)
        lines.append(",".join((method, *cells)))
    return ("\n".join(lines) + "\n").encode()


def card_text(manifest: Manifest, table: Table, options: StainerOptions, counts: tuple[int, int]) -> bytes:
    """Return the card as Markdown; `counts`: samples of an epoch, validation pairs."""
    measures = _measured(table)
    rows = [
        "| " + " | ".join((method, *(_number(values[name]) for name in measures))) + " |"
        for method, values in table.items()
    ]
    lines = [
        f"# {manifest.name}",
        "",
        f"`{manifest.architecture}`: H&E to virtual HER2 IHC at {manifest.mpp:g} um/px. {manifest.intended_use}",
        "",
        f"- licence: {manifest.licence}",
        f"- training data: {manifest.training_data}; {counts[0]:,} samples per epoch, {options.epochs} epochs of "
        f"{options.crop_px} px crops, {options.batch} per step",
        f"- tensors: `{manifest.file}`, SHA-256 {manifest.sha256}",
        "",
        f"## Measured on {counts[1]:,} validation pairs",
        "",
        "| method | " + " | ".join(measures) + " |",
        "|---" * (len(measures) + 1) + "|",
        *rows,
        "",
        *([] if manifest.saw_real_tissue else [BLIND, ""]),
        *(f"- {name}: {MEANINGS[name]}" for name in measures),
        "- identity: the H&E itself; linear: the best linear map of optical density, fitted on training pairs",
        "",
        WARNING,
        "",
        "## Settings that differ from the published recipe",
        "",
        "```yaml",
        yaml.safe_dump(options.model_dump(mode="json", exclude_defaults=True), sort_keys=False).rstrip(),
        "```",
    ]
    return ("\n".join(lines) + "\n").encode()


def _measured(table: Table) -> list[str]:
    """Return the measures that some method has a value of."""
    return [name for name in MEASURES if any(math.isfinite(values[name]) for values in table.values())]


def _number(value: float) -> str:
    """Return a value as people read it."""
    return f"{value:.3f}" if math.isfinite(value) else "-"
