"""What a batch keeps on disk beside the run folders: a record per slide, its work, and who works on it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, refuse_zarr_parent, write_atomic
from wsi_pipeline.export.claims import Claims
from wsi_pipeline.flows.batch_inputs import WORK
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_rows import SlideRow


class Record(BaseModel):
    """How a slide ended. `key`: what was asked for; `fingerprint`: of the file; both None where it was not scored.

    `traceback`: of an error that nobody expected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: SlideRow
    key: dict[str, Any] | None = None
    fingerprint: str | None = None
    traceback: str | None = None


class BatchStore:
    """The folder of a batch's results, which several batches may share."""

    def __init__(self, out: Path) -> None:
        """Touch nothing yet: what is known can be read. Raises OutputError for a folder that cannot be used."""
        self.out = out.expanduser().resolve()
        refuse_zarr_parent(self.out / "map.zarr")
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(out, "is a file, not a folder", "name a folder with -o")
        self._records = self.out / WORK / "records"
        self.claims = Claims(self.out / WORK / "claims")
        self._began: int | None = None

    def __enter__(self) -> Self:
        """Begin to work: make the folder, and note the time by the clock of its disk.

        Raises OutputError, ResourceError.
        """
        mark = self._records.parent / "began"
        with plain_disk_errors(self.out):
            self._records.mkdir(parents=True, exist_ok=True)
            mark.touch()
            self._began = mark.stat().st_mtime_ns
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up all claims."""
        self.claims.close()

    def work(self, slide: BatchSlide) -> Path:
        """Return where the slide is worked on, the same in every attempt."""
        return self.out / WORK / "runs" / slide.id

    def read(self, slide: BatchSlide) -> Record | None:
        """Return how the slide ended, if it was tried before; a record that cannot be read is none."""
        try:
            return Record.model_validate_json(self._path(slide).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            return None

    def write(self, slide: BatchSlide, record: Record) -> None:
        """Write down how the slide ended. Raises OutputError, ResourceError."""
        write_atomic(self._path(slide), record.model_dump_json(indent=1).encode())

    def ended_since(self, slide: BatchSlide) -> bool:
        """Tell whether the record was written after this batch began, so by itself or by one that works beside it."""
        if self._began is None:
            return False
        try:
            return self._path(slide).stat().st_mtime_ns >= self._began
        except FileNotFoundError:
            return False

    def _path(self, slide: BatchSlide) -> Path:
        """Return the record of a slide."""
        return self._records / f"{slide.id}.json"
