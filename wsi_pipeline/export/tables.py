"""Tables as Parquet with units in the footer, values as JSON; both appear whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from wsi_pipeline.errors import NO_TEXT, OutputError, printable
from wsi_pipeline.export.atomic import write_atomic

if TYPE_CHECKING:
    import pyarrow as pa


def write_parquet(
    path: Path, table: pa.Table, metadata: Mapping[str, str], units: Mapping[str, str] | None = None
) -> None:
    """Write `table` (zstd) with `metadata` in the schema footer and each column's unit as its field's "unit".

    `units` maps column name to unit ("um", "px, level 0", "1"). Raises OutputError (also for a unit without a column),
    ResourceError.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only needed here
    import pyarrow.parquet as pq  # noqa: PLC0415

    units = units or {}
    missing = sorted(set(units) - set(table.column_names))
    if missing:
        raise OutputError(path, f"has units for columns that it does not have: {', '.join(missing)}")
    fields = [
        field.with_metadata({"unit": units[field.name]}) if field.name in units else field for field in table.schema
    ]
    schema = pa.schema(fields, metadata={**(table.schema.metadata or {}), **_as_bytes(metadata)})
    described = pa.Table.from_arrays(table.columns, schema=schema)  # a cast would import all of pyarrow.compute

    def write(file: BinaryIO) -> None:
        pq.write_table(described, file, compression="zstd")

    write_atomic(path, write)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented UTF-8 JSON, keys in their order. Raises OutputError (NaN, not JSON), ResourceError."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise OutputError(path, f"cannot be JSON: {error}") from error
    write_atomic(path, f"{NO_TEXT.sub(_escaped, text)}\n".encode())


def _escaped(found: re.Match[str]) -> str:
    """Return a byte of a file name that is no text as `printable` writes it, in JSON."""
    return printable(found[0]).replace("\\", "\\\\")


def _as_bytes(metadata: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return `metadata` as Arrow keeps it."""
    return {key.encode(): value.encode() for key, value in metadata.items()}
