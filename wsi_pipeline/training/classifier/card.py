"""The model card of a trained classifier: what it is, what was measured, and what that does not prove."""

from __future__ import annotations

import math
from typing import NamedTuple

from wsi_pipeline.models.manifest import HER2_CLASSES, Manifest
from wsi_pipeline.training.classifier.evaluation import Evaluation

CUTS = ("0 against 1+", "1+ against 2+", "2+ against 3+")

SETTINGS = "settings.yaml"
"""File beside the card that holds all settings."""

LIMITS = (
    "The figures are those of the validation tiles, which also chose the epoch and the temperature: they flatter. "
    "Measure on tiles that took no part before you rely on them.",
    "A tile is not a slide. Labels of patches that are copied from their slide are wrong for many patches.",
    "Absolute stain differs between laboratories and scanners: nothing is known of material unlike the training data.",
)


class Outcome(NamedTuple):
    """What a training ended with."""

    epoch: int
    """The best one, from 0."""
    temperature: float
    """Folded into the last layer; 1 where none was fitted."""
    before: Evaluation
    """Of the best weights as trained."""
    after: Evaluation
    """Of the weights as written: calibrated and rounded."""


def metrics(outcome: Outcome) -> dict[str, float | str]:
    """Return the manifest's figures, good and bad; what cannot be said is said so."""
    after = outcome.after
    named: dict[str, float] = {"accuracy": after.accuracy, "quadratic kappa": after.kappa}
    named |= {f"recall of {name}": value for name, value in zip(HER2_CLASSES, after.recall, strict=True)}
    named |= {f"accuracy of {cut}": value for cut, value in zip(CUTS, after.cuts, strict=True)}
    named |= {
        "cross entropy": after.nll,
        "calibration error": after.calibration_error,
        "calibration error before the temperature": outcome.before.calibration_error,
    }
    figures: dict[str, float | str] = {
        f"validation {name}": "not defined" if math.isnan(value) else round(value, 4) for name, value in named.items()
    }
    table = "; ".join(f"{name}: {row.tolist()}" for name, row in zip(HER2_CLASSES, after.confusion, strict=True))
    return {
        "validation tiles": float(after.tiles), **figures, "validation confusion, true class: answers": table,
        "temperature in the last layer": round(outcome.temperature, 4), "best epoch": float(outcome.epoch + 1),
    }  # fmt: skip


def card_text(manifest: Manifest, outcome: Outcome) -> str:
    """Return the card as Markdown."""
    lines = [
        f"# {manifest.name}",
        "",
        f"Tile classifier for HER2 IHC (0, 1+, 2+, 3+): `{manifest.architecture}`. {manifest.intended_use}",
        "",
        f"- Licence: {manifest.licence}",
        f"- Training data: {manifest.training_data}",
        f"- Tiles: {manifest.tile_px} px at {manifest.mpp:g} um/px, resized to {manifest.input_px} px",
        f"- Weights: `{manifest.file}`, sha256 {manifest.sha256}",
        "",
        "## Measured on validation",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {_plain(value)} |" for name, value in manifest.metrics.items() if "confusion" not in name),
        "",
        "| true class | " + " | ".join(f"called {name}" for name in HER2_CLASSES) + " |",
        "|---" * (len(HER2_CLASSES) + 1) + "|",
        *(
            f"| {name} | " + " | ".join(map(str, row.tolist())) + " |"
            for name, row in zip(HER2_CLASSES, outcome.after.confusion, strict=True)
        ),
        "",
        "## What this does not prove",
        "",
        *(f"- {limit}" for limit in LIMITS),
        "",
        f"Trained with the settings in `{SETTINGS}`, which `--config` takes.",
    ]
    return "\n".join(lines) + "\n"


def _plain(value: float | str) -> str:
    """Return a figure as people read it."""
    return value if isinstance(value, str) else f"{value:g}"
