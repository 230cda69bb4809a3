"""The optional extra `train`: what networks need, and matplotlib for the curves."""

from __future__ import annotations

import importlib.util

from wsi_pipeline.errors import UsageError
from wsi_pipeline.installation import install_line
from wsi_pipeline.models.extra import PACKAGES


def require_train_extra() -> None:
    """Raise UsageError with the command to type when something that training needs is not installed."""
    missing = [name for name in (*PACKAGES, "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(", ".join(missing), f"{verb} not installed", f"type: {install_line('train')}")
