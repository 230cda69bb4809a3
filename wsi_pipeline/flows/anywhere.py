"""Score one slide wherever it and its results lie: fetched before, sent afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from wsi_pipeline.errors import OutputError, StorageError, UsageError, printable
from wsi_pipeline.export.atomic import LAST_PUBLISHED, plain_disk_errors, refuse_zarr_parent
from wsi_pipeline.flows.at_hand import at_hand, bring, naming
from wsi_pipeline.flows.request import ScoreRequest, silent
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.results import Result
from wsi_pipeline.storage import Address, RemotePath, Target, is_url, local_path


@dataclass(frozen=True)
class Scored:
    """A finished run. `where`: its folder or URL, for people; `record`: what result.json holds."""

    result: Result
    where: str
    record: str


def score_anywhere(request: ScoreRequest, work: Path | None) -> Scored:
    """Score the slide of `request`; `work`: folder for what is fetched and what is to be sent, if not a temporary one.

    A run that cannot be sent is kept, and the error says where. Raises any WsiHer2Error.
    """
    if request.origin is None and request.roi_origin is None and request.destination is None:
        return _scored(request)
    if request.scheduler is not None and work is None:
        needed = "is needed with --scheduler when anything lies at a URL"
        raise UsageError("--work", needed, "name a folder that all workers reach")
    with _workplace(work) as place:
        if request.destination is None:
            with at_hand(request, place / "copies") as here:
                return _scored(here)
        return _score_and_send(request, Target(request.destination), place)


@contextmanager
def slide_at_hand(word: str) -> Iterator[tuple[Path, str]]:
    """Yield the path of a slide, of a copy where the word is a URL, and what to call it.

    Raises UsageError (nothing at the URL), ResourceError, StorageError, OutputError.
    """
    if not is_url(word):
        path = local_path(word)
        yield path, printable(path)
        return
    origin = RemotePath.alone(Address.of(word))
    with _workplace(None) as place, naming(origin, place / "slide"):
        yield bring(origin, place / "slide", silent), origin.address.shown


def _scored(request: ScoreRequest) -> Scored:
    """Score a slide that is at hand into a folder of the local disk."""
    result, folder = score_slide(request)
    return Scored(result, str(folder), (folder / LAST_PUBLISHED).read_text(encoding="utf-8"))


def _score_and_send(request: ScoreRequest, wanted: Target, place: Path) -> Scored:
    """Score into a local folder, and send that to the URL, or to one beside it with a number."""
    refuse_zarr_parent(Path("/", *wanted.address.parts, "map.zarr"))
    home = Target(wanted.address.parent)
    home.check()
    name = home.free_name(wanted.address.name)
    local = replace(request, out=place / name, destination=home.at(name))
    with at_hand(local, place / "copies") as here:
        scored = _scored(here)
    try:
        home.send(Path(scored.where), name, LAST_PUBLISHED, partial(request.progress, "sending"))
    except (StorageError, OutputError) as error:
        kept = _keep(Path(scored.where), place)
        raise type(error)(error.subject, error.problem, f"the finished run is in {kept}") from error
    return Scored(scored.result, home.at(name).shown, scored.record)


@contextmanager
def _workplace(work: Path | None) -> Iterator[Path]:
    """Yield a new folder, in `work` or where temporary files go; it is deleted afterwards. Raises OutputError."""
    with plain_disk_errors(work or Path(tempfile.gettempdir())):
        if work is not None:
            work.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="wsi-her2-", dir=work)).resolve()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _keep(folder: Path, place: Path) -> Path:
    """Move a finished run out of the folder that will be deleted, and return where it is."""
    kept = place.with_name(f"{place.name}-{folder.name}")
    folder.rename(kept)
    return kept


def destination_of(word: str) -> Address:
    """Return the URL that a run is to be sent to. Raises OutputError for one that names no folder in a bucket."""
    address = Address.of(word)
    Target(address)
    if len(address.parts) < 2:
        raise OutputError(address.shown, "is a whole bucket", "name a new folder in it, such as s3://bucket/results")
    return address
