"""A slide at a URL, brought to the local disk for as long as it is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from wsi_pipeline.errors import ResourceError, WsiHer2Error
from wsi_pipeline.export.atomic import free_bytes, plain_disk_errors
from wsi_pipeline.flows.remote_slide import slide_files
from wsi_pipeline.flows.request import Progress, ScoreRequest
from wsi_pipeline.storage import RemoteFile, RemotePath, fetch, forget

MB = 1_000_000


def always() -> bool:
    """Say yes: nobody else works on a copy."""
    return True


@contextmanager
def at_hand(request: ScoreRequest, copies: Path, is_ours: Callable[[], bool] = always) -> Iterator[ScoreRequest]:
    """Yield the request with its slide and drawn region on the local disk: copies in `copies`, which go afterwards.

    `is_ours`: whether the copies are still this process's to delete. What is raised inside names the URLs. Raises
    UsageError (nothing there), ResourceError (no room for the copy, with both numbers), StorageError, OutputError.
    """
    if request.origin is None and request.roi_origin is None:
        yield request
        return
    slide_copy, roi_copy = copies / "slide", copies / "roi"
    slide, roi = request.slide, request.roi
    try:
        with naming(request.origin, slide_copy), naming(request.roi_origin, roi_copy):
            if request.origin is not None:
                slide = bring(request.origin, slide_copy, request.progress)
            if request.roi_origin is not None:
                roi = bring(request.roi_origin, roi_copy, request.progress)
            yield replace(request, slide=slide, roi=roi)
    finally:
        if is_ours():
            forget(slide_copy)
            forget(roi_copy)
            with suppress(OSError):
                copies.rmdir()


@contextmanager
def naming(origin: RemotePath | None, folder: Path) -> Iterator[None]:
    """Let errors that name the copy of `origin` in `folder` name its URL."""
    try:
        yield
    except WsiHer2Error as error:
        if origin is not None:
            for path in (str(folder / origin.name), str(folder)):
                error.subject = error.subject.replace(path, origin.address.shown)
                error.problem = error.problem.replace(path, origin.address.shown)
            error.args = (error.subject, error.problem, error.remedy)
        raise


def bring(place: RemotePath, folder: Path, progress: Progress) -> Path:
    """Copy a slide with all its files into `folder`, or find it there, and return what is to be opened.

    Raises UsageError (nothing there), ResourceError (with both numbers), StorageError, OutputError.
    """
    progress("looking up", 0, 1)
    name, files = slide_files(place)
    with plain_disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_room(place, folder, files)
        fetch(files, folder, lambda done, total: progress("fetching, MB", done // MB, -(-total // MB)))
    return folder / name


def _require_room(place: RemotePath, folder: Path, files: Mapping[str, RemoteFile]) -> None:
    """Raise ResourceError with both numbers when the disk cannot hold the copy beside what is there of it already."""
    there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed, free = sum(file.size or 0 for file in files.values()), free_bytes(folder) + there
    if free < needed:
        problem = f"its copy needs {needed:,} bytes of disk and {free:,} are free"
        raise ResourceError(place.address.shown, problem, "free some space or choose another folder with --work")
