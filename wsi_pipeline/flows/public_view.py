"""Where things lie, as results may say it in public: relative where both move together, else by name alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wsi_pipeline.errors import printable
from wsi_pipeline.flows.request import ScoreRequest


@dataclass(frozen=True)
class SlidePlace:
    """Where a slide lies; see `results.SlideRecord`."""

    name: str
    path: str
    local_path: str | None


def place_of(slide: Path, folder: Path) -> SlidePlace:
    """Return where a slide on the local disk lies, for a record in the run folder `folder`."""
    near = seen_from(slide, folder)
    name = printable(_absolute(slide).name)
    return SlidePlace(name, near or name, None if near else printable(_absolute(slide)))


def place_of_request(request: ScoreRequest, final: Path) -> SlidePlace:
    """Return where the slide of a request lies, for the record of a run that ends in `final`.

    At a URL: the URL. Of results that are sent to one, nothing of this machine is told.
    """
    if request.origin is not None:
        return SlidePlace(printable(request.origin.name), request.slide_shown, None)
    if request.destination is not None:
        name = printable(_absolute(request.slide).name)
        return SlidePlace(name, name, None)
    return place_of(request.slide, final)


def seen_from(place: Path, folder: Path) -> str | None:
    """Return the path of `place` relative to `folder`, with /; None where they have too little in common to move along.

    What they share must be a folder of one's own: neither the file system's root nor one that holds the homes of users,
    whose names a relative path would tell.
    """
    absolute, home = _absolute(place), Path.home().resolve()
    try:
        common = Path(os.path.commonpath((absolute.parent, folder)))
    except ValueError:  # two drives
        return None
    if common == Path(common.anchor) or common in home.parents:
        return None
    return printable(Path(os.path.relpath(absolute, folder)).as_posix())


def _absolute(path: Path) -> Path:
    """Return the path from the root: folders without links, as a run folder's own path is, but a link's own name."""
    plain = Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps ".."
    return plain.parent.resolve() / plain.name
