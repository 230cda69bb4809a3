"""What a batch keeps on disk beside the run folders: a record per slide, its work, and who works on it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from wsi_pipeline.errors import OutputError, StorageError
from wsi_pipeline.export.atomic import LAST_PUBLISHED, plain_disk_errors, refuse_zarr_parent, write_atomic
from wsi_pipeline.export.claims import Claims
from wsi_pipeline.flows.batch_inputs import WORK
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.request import Progress
from wsi_pipeline.storage import Address, Target

SUMMARY_FILES = ("summary.csv", "cases.csv", "summary.parquet", "summary.html")
"""What is sent of the results' folder itself, the page last, since it links to the others."""


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

    def __init__(self, out: Path, target: Address | None = None, copies: Path | None = None) -> None:
        """Touch nothing yet: what is known can be read. Raises OutputError for a folder that cannot be used.

        `target`: the URL that finished runs are sent to; `copies`: where copies of slides lie, if not in `out`.
        """
        self.out = out.expanduser().resolve()
        self._target = None if target is None else Target(target)
        self._copies = (copies or out).expanduser().resolve() / WORK / "slides"
        refuse_zarr_parent(self.out / "map.zarr")
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(out, "is a file, not a folder", "name a folder with -o")
        self._records = self.out / WORK / "records"
        self.claims = Claims(self.out / WORK / "claims")
        self._began: int | None = None

    def __enter__(self) -> Self:
        """Begin to work: make the folder, and note the time by the clock of its disk; see whether the URL takes files.

        Raises OutputError, ResourceError, StorageError.
        """
        mark = self._records.parent / "began"
        with plain_disk_errors(self.out):
            self._records.mkdir(parents=True, exist_ok=True)
            mark.touch()
            self._began = mark.stat().st_mtime_ns
        if self._target is not None:
            self._target.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up all claims."""
        self.claims.close()

    def work(self, slide: BatchSlide) -> Path:
        """Return where the slide is worked on, the same in every attempt."""
        return self.out / WORK / "runs" / slide.id

    def copies(self, slide: BatchSlide) -> Path:
        """Return where the copy of a slide at a URL lies while it is worked on, the same in every attempt."""
        return self._copies / slide.id

    def read(self, slide: BatchSlide) -> Record | None:
        """Return how the slide ended, if it was tried before; a record that cannot be read is none.

        Where this folder has none, that at the URL counts. Raises StorageError.
        """
        try:
            return Record.model_validate_json(self._path(slide).read_bytes())
        except FileNotFoundError:
            content = self._target and self._target.read(_record_name(slide))
        except (OSError, ValidationError):
            return None
        try:
            return Record.model_validate_json(content) if content else None
        except ValidationError:
            return None

    def write(self, slide: BatchSlide, record: Record) -> None:
        """Write down how the slide ended. Raises OutputError, ResourceError, StorageError."""
        content = record.model_dump_json(indent=1).encode()
        write_atomic(self._path(slide), content)
        if self._target is not None:
            self._target.write(
                _record_name(slide), record.model_copy(update={"traceback": None}).model_dump_json().encode()
            )

    def has(self, relative: str) -> bool:
        """Tell whether a file is among the results, at their URL where they have one. Raises StorageError."""
        return (self.out / relative).exists() if self._target is None else self._target.exists(relative)

    def is_free(self, final: Path) -> bool:
        """Tell whether nothing lies in a run folder, neither here nor at the URL. Raises StorageError."""
        if final.exists():
            return False
        return self._target is None or not self._target.is_taken(self._relative(final))

    def deliver(self, final: Path, progress: Progress) -> None:
        """Send a finished run to the URL, if there is one. Raises OutputError, StorageError; the run stays here."""
        if self._target is None:
            return
        try:
            self._target.send(final, self._relative(final), LAST_PUBLISHED, partial(progress, "sending"))
        except StorageError as error:
            remedy = f"what was done is kept in {self.out}; the same command goes on"
            raise StorageError(error.subject, error.problem, remedy) from error

    def deliver_summary(self) -> None:
        """Send the summary to the URL, if there is one. Raises OutputError, StorageError."""
        for name in SUMMARY_FILES if self._target is not None else ():
            if self._target is not None and (self.out / name).exists():
                self._target.write(name, (self.out / name).read_bytes())

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

    def _relative(self, final: Path) -> str:
        """Return a run folder's path relative to the results' folder."""
        return final.relative_to(self.out).as_posix()


def _record_name(slide: BatchSlide) -> str:
    """Return the record of a slide, relative to the URL of the results."""
    return f"{WORK}/records/{slide.id}.json"
