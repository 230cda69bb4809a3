"""Checkpoints: everything that decides how training goes on, written whole or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from wsi_pipeline.errors import UsageError, WeightsError
from wsi_pipeline.export.atomic import write_atomic

FORM = 1
"""Version of the checkpoint's layout."""


class Stateful(Protocol):
    """Network, optimiser, gradient scaler, averaged weights: whatever has a state dict of tensors and plain values."""

    def state_dict(self) -> Any:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take the state over."""
        ...


class Position(NamedTuple):
    """How far training has come: the next thing to do is batch `batch` of epoch `epoch`, which is step `step`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


class Resumed(NamedTuple):
    """Where to go on, and the plain values that were saved beside the parts."""

    position: Position
    extra: dict[str, Any]


class Checkpoint:
    """The file of one training: parts with a state, position, random states and the settings they belong to."""

    def __init__(self, path: Path, parts: Mapping[str, Stateful], settings: Mapping[str, Any]) -> None:
        """Keep `parts` (by name) in `path`; `settings` (plain values) must be equal when training goes on."""
        self._path = path
        self._parts = parts
        self._settings = dict(settings)

    def save(self, position: Position, extra: Mapping[str, Any] | None = None) -> None:
        """Write the state of all parts atomically, `extra` (plain values) too. Raises OutputError, ResourceError."""
        content = {
            "form": FORM,
            "position": tuple(position),
            "settings": self._settings,
            "extra": dict(extra or {}),
            "random": random_states(),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }
        write_atomic(self._path, lambda file: torch.save(content, file))

    def restore(self) -> Resumed:
        """Put all parts and the random generators back to the saved state, and return the position.

        Raises WeightsError for a file that is no such checkpoint, UsageError when the settings have changed.
        """
        content = read_checkpoint(self._path)
        self._refuse_changes(content["settings"])
        missing = self._parts.keys() ^ content["parts"].keys()
        if missing:
            raise WeightsError(self._path, f"does not hold the same parts ({', '.join(sorted(missing))})")
        for name, part in self._parts.items():
            try:
                part.load_state_dict(content["parts"][name])
            except (RuntimeError, ValueError, KeyError) as error:
                raise WeightsError(self._path, f"{name} does not fit: {str(error).splitlines()[0]}") from error
        restore_random(content["random"])
        return Resumed(Position(*content["position"]), content["extra"])

    def _refuse_changes(self, saved: Mapping[str, Any]) -> None:
        """Raise UsageError naming the first setting that differs from the saved one."""
        for name in sorted(saved.keys() | self._settings.keys()):
            before, now = saved.get(name), self._settings.get(name)
            if before != now:
                raise UsageError(
                    self._path,
                    f"was trained with {name} = {before!r}, not {now!r}",
                    "go on with the same settings, or start in another folder",
                )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, tensors on the CPU; nothing in the file is executed. Raises WeightsError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(path, "there is no checkpoint to go on from", "start without --resume") from error
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise WeightsError(path, "is not a whole checkpoint of a training") from error
    if not isinstance(content, dict) or content.get("form") != FORM:
        raise WeightsError(path, "is not a checkpoint of a training")
    return content


def random_states() -> dict[str, Any]:
    """Return the states of torch's random generators, processor and CUDA devices."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": list(cuda)}


def restore_random(states: Mapping[str, Any]) -> None:
    """Put torch's random generators back; CUDA's only where as many devices are there."""
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
