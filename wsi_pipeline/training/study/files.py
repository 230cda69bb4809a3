"""Tables of a study as CSV, read back as they were written, and hashes of files."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import write_atomic


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV. Raises OutputError, ResourceError."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV by column. Raises OutputError when it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OutputError(path, f"cannot be read: {error}", "start the study in a new folder") from error


def sha256(path: Path) -> str:
    """Return the hash of a file. Raises OutputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(path, f"cannot be read: {error.strerror or error}") from error
