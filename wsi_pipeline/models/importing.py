"""Checkpoints of others made ours: read without running code, recognised by their keys, checked, folded, written."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from wsi_pipeline.errors import UsageError, WeightsError
from wsi_pipeline.models.architectures import Form, first_problem, plain_specs, recognise
from wsi_pipeline.models.manifest import ARCHITECTURES, CLASSIFIERS, Manifest, ModelCard
from wsi_pipeline.models.save import refuse_taken, save_weights

WRAPPERS = ("model_state", "state_dict")
"""Keys under which trainers put the state dict."""

PARALLEL_PREFIX = "module."
"""What torch's DataParallel puts before every key."""

PICKLE_SUFFIXES = (".pth", ".pt")

DAMAGE = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    struct.error,
)  # fmt: skip
"""What torch raises for a file that is not, or not wholly, a checkpoint."""


def import_checkpoint(path: Path, card: ModelCard, folder: Path) -> Manifest:
    """Write the checkpoint `path` (.pth, .pt or .safetensors) as weights called `card.name` in `folder`.

    Nothing in the file is executed.

    Raises:
        WeightsError: names the first offending key.
        UsageError: a stainer whose marker the card does not name.
        OutputError: `folder` cannot be written.
    """
    refuse_taken(card.name, folder)
    state = read_state(path)
    form = recognise(state)
    if form is None:
        raise WeightsError(path, f"{next(iter(state))!r} belongs to none of {', '.join(ARCHITECTURES)}")
    problem = first_problem(state, form.specs)
    if problem:
        raise WeightsError(path, f"looks like {form.words}, but {problem}")
    if card.features_relu and form.architecture != "ihcnet":
        raise WeightsError(path, f"is {form.words}; --features-relu is for ihcnet")
    if form.architecture not in CLASSIFIERS and card.marker is None:
        raise UsageError("--marker", f"is not given, and {path} is {form.words}", "say what it stains: --marker HER2")
    return save_weights(_folded(path, state, form), form.architecture, card, folder)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return key -> tensor of a checkpoint (.pth, .pt, .safetensors); nothing is executed. Raises WeightsError."""
    return _state_dict(path, _read(path))


def _folded(path: Path, state: Mapping[str, Tensor], form: Form) -> dict[str, Tensor]:
    """Return the plain form, which must be finite too."""
    precise = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    folded = form.fold(precise)
    problem = first_problem(folded, plain_specs(form.architecture))
    if problem:
        raise WeightsError(path, f"looks like {form.words}, but after folding {problem}")
    return folded


def _read(path: Path) -> Any:
    """Return what the file holds: tensors in plain containers. Raises WeightsError."""
    suffix = path.suffix.lower()
    if suffix not in (*PICKLE_SUFFIXES, ".safetensors"):
        raise WeightsError(path, f"{suffix or 'no'} ending; a checkpoint ends in .pth, .pt or .safetensors")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(path, f"cannot be read: {error.strerror or error}") from error
    try:
        if suffix == ".safetensors":
            return load(content)
        with warnings.catch_warnings():  # torch's advice to programmers about odd files
            warnings.simplefilter("ignore")
            return torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(path, "is not a whole safetensors file") from error
    except DAMAGE as error:
        raise WeightsError(path, _damage(str(error))) from error


def _damage(reason: str) -> str:
    """Return in plain words why torch refused a file."""
    code = re.search(r"GLOBAL ([\w.]+)", reason)
    if code:
        return f"is a pickle that asks for {code.group(1)}, which may be code; nothing in it was executed"
    if "TorchScript" in reason:
        return "is a TorchScript program; nothing in it was executed; export a state dict instead"
    return "is not a whole checkpoint of tensors; nothing in it was executed"


def _state_dict(path: Path, content: Any) -> dict[str, Tensor]:
    """Return key -> tensor, unwrapped and without the prefix of parallel training. Raises WeightsError."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(path, f"holds {type(content).__name__} without tensors, not a state dict")
    for key, tensor in content.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise WeightsError(path, f"{key!r} is {type(tensor).__name__}, not a tensor: this is not a state dict")
    return {key.removeprefix(PARALLEL_PREFIX): tensor for key, tensor in content.items()}
