"""The optional extra `models`: torch, torchvision and safetensors."""

from __future__ import annotations

import importlib.util

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.installation import install_line

PACKAGES = ("torch", "torchvision", "safetensors")


def require_models_extra() -> None:
    """Raise WeightsError with the command to type when something that networks need is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise WeightsError(", ".join(missing), f"{verb} not installed", f"type: {install_line('models')}")
