"""Curves as CSV: a row per step or epoch, cut back to the checkpoint when training goes on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic

Row = dict[str, float]


class Curve:
    """A CSV file that grows by rows; its first column is `step`, and all values are numbers.

    Numbers are written so that they read back to the bit.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        """Keep `columns` (beside `step`) in `path`; nothing is written before `start` or `rewind`."""
        self.path = path
        self.columns = ("step", *columns)
        self.rows: list[Row] = []
        """Everything written so far, oldest first."""

    def start(self) -> None:
        """Begin an empty file. Raises OutputError, ResourceError."""
        self.rows = []
        self._rewrite()

    def rewind(self, step: int) -> None:
        """Read the file and drop what came at `step` or later, or was written in part. Raises OutputError."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise OutputError(
                self.path, f"cannot be read: {error.strerror or error}", "start without --resume"
            ) from error
        whole = text[: text.rfind("\n") + 1]
        lines = list(csv.reader(io.StringIO(whole)))
        if not lines or tuple(lines[0]) != self.columns:
            raise OutputError(self.path, "does not hold the curves of this training", "start in another folder")
        try:
            rows = [dict(zip(self.columns, map(float, line), strict=True)) for line in lines[1:]]
        except ValueError as error:
            raise OutputError(self.path, f"holds what is no number: {error}", "start in another folder") from error
        self.rows = [row for row in rows if row["step"] < step]
        self._rewrite()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append the row of `step`; one value per column. Raises OutputError, ResourceError."""
        row = {"step": float(step)} | {name: float(values[name]) for name in self.columns[1:]}
        self.rows.append(row)
        with plain_disk_errors(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(self._line(row))

    def sync(self) -> None:
        """Put all rows safely on the disk, before a checkpoint relies on them. Raises OutputError, ResourceError."""
        with plain_disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def column(self, name: str) -> list[float]:
        """Return the values of one column, oldest first."""
        return [row[name] for row in self.rows]

    def _rewrite(self) -> None:
        """Write the header and all rows at once."""
        header = ",".join(self.columns) + "\n"
        write_atomic(self.path, (header + "".join(map(self._line, self.rows))).encode())

    def _line(self, row: Row) -> str:
        """Return one row as text; steps without a fraction."""
        return ",".join(f"{value:.0f}" if value.is_integer() else repr(value) for value in row.values()) + "\n"
