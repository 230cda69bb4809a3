"""Names of HER2 classes and of splits, as data sets spell them."""

from __future__ import annotations

from pathlib import Path

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.data.records import Split

LABELS: dict[str, int] = {name: code for code, name in enumerate(HER2_CLASSES)} | {str(k): k for k in range(4)}
"""0, 1, 2, 3 and 0, 1+, 2+, 3+."""

SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder or column value -> split."""


def parse_label(text: str, file: Path) -> int:
    """Return the class 0 to 3 that `text` names. Raises UsageError naming `file`."""
    if text not in LABELS:
        raise UsageError(file, f"its label {text!r} is not known", "labels are 0, 1, 2, 3 or 0, 1+, 2+, 3+")
    return LABELS[text]


def parse_split(text: str, file: Path) -> Split:
    """Return the split that `text` names. Raises UsageError naming `file`."""
    if text.lower() not in SPLITS:
        raise UsageError(file, f"its split {text!r} is not known", "splits are train, val and test")
    return SPLITS[text.lower()]
