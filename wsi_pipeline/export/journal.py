"""Outcomes of regions on disk: small records that exist only when they are whole, and hold no code.

A record is an .npz file: the zip format has a checksum for each member, and nothing in it is unpickled.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.export.atomic import plain_disk_errors

Outcome = TypeVar("Outcome")

PLAIN = "plain"
"""Member that holds all that is no array, as JSON."""

NAME = "{:06d}.npz"


def write_outcome(folder: Path, number: int, outcome: Any) -> None:
    """Write the outcome of task `number`, whole or not at all. Raises OutputError, ResourceError.

    `outcome`: a dataclass or NamedTuple whose fields are arrays, dicts of arrays by name, or JSON.
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in _fields(outcome):
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, dict) and value and all(isinstance(part, np.ndarray) for part in value.values()):
            arrays |= {f"{name}/{key}": part for key, part in value.items()}
        else:
            plain[name] = value
    content = io.BytesIO()
    np.savez(content, **{PLAIN: np.frombuffer(json.dumps(plain).encode(), np.uint8)}, **arrays)  # type: ignore[arg-type]
    path = folder / NAME.format(number)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    with plain_disk_errors(folder):
        beside.write_bytes(content.getvalue())
        beside.replace(path)


def read_outcome(path: Path, kind: type[Outcome]) -> Outcome | None:
    """Return the outcome in a record as an object of class `kind`, or None when the record is damaged or of another."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as members:
            values: dict[str, Any] = json.loads(members[PLAIN].tobytes())
            for name in members.files:
                group, slash, key = name.partition("/")
                if slash:
                    values.setdefault(group, {})[key] = members[name]
                elif name != PLAIN:
                    values[name] = members[name]
        return kind(**values)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def recorded(folder: Path) -> dict[int, Path]:
    """Return task number -> record of all that is in `folder`."""
    return {int(path.stem): path for path in folder.glob("[0-9]*.npz")}


def _fields(outcome: Any) -> list[tuple[str, Any]]:
    """Return the fields of a dataclass or NamedTuple."""
    if dataclasses.is_dataclass(outcome):
        return [(field.name, getattr(outcome, field.name)) for field in dataclasses.fields(outcome)]
    return list(outcome._asdict().items())
