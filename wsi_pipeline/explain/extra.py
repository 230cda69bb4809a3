"""The optional extra `explain`: captum, the library behind finer class activation maps, and the networks' packages.

captum is the CAM library because its public interface gives signed, unscaled maps at the layer's own resolution of any
scalar, such as a margin. grad-cam 1.5.7 cuts negative evidence off and stretches every tile to 0-1, torchcam 0.5.0 cuts
it off unless a private attribute is changed: tiles could not be compared.
"""

from __future__ import annotations

import importlib.util

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.installation import install_line
from wsi_pipeline.models.extra import require_models_extra


def require_explain_extra() -> None:
    """Raise WeightsError with the command to type when torch and its kin, or captum, are not installed."""
    require_models_extra()
    if importlib.util.find_spec("captum") is None:
        raise WeightsError("captum", "is not installed", f"type: {install_line('explain')}")
