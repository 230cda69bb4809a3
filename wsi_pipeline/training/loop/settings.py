"""Settings of a training: defaults in code, presets in `configs/` that list only what differs, overrides by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsi_pipeline.config import config_folder
from wsi_pipeline.errors import UsageError

Options = TypeVar("Options", bound=BaseModel)


def load_options(kind: type[Options], task: str, preset: str | None, overrides: dict[str, Any]) -> Options:
    """Return the options `kind` of `preset` with `overrides` (name -> value, dotted for nested groups).

    `preset`: a YAML file, or NAME for configs/train_TASK_NAME.yaml; None for the defaults. Raises UsageError.
    """
    values = _preset(task, preset) if preset is not None else {}
    for name, value in overrides.items():
        *parents, last = name.split(".")
        group = values
        for parent in parents:
            group = group.setdefault(parent, {})
            if not isinstance(group, dict):
                raise UsageError(f"--set {name}", f"{parent} is a value, not a group")
        group[last] = value
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(kind.model_fields)
        raise UsageError(f"setting {name}" if name else "settings", first["msg"], f"there are: {known}") from error


def _preset(task: str, preset: str) -> dict[str, Any]:
    """Return the mapping in a preset's YAML file. Raises UsageError."""
    path = _path(task, preset)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(path, "cannot be read as YAML") from error
    if values is not None and not isinstance(values, dict):
        raise UsageError(path, "does not hold a mapping of names to values")
    return values or {}


def _path(task: str, preset: str) -> Path:
    """Return the YAML file that `preset` names."""
    if preset.endswith((".yaml", ".yml")):
        return Path(preset)
    prefix = f"train_{task}_"
    known = {path.stem.removeprefix(prefix): path for path in sorted(config_folder().glob(f"{prefix}*.yaml"))}
    if preset not in known:
        raise UsageError(f"--config {preset}", "is no preset", f"there are: {', '.join(known)}; or name a .yaml file")
    return known[preset]
