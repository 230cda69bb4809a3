"""A first look at a slide's pixels when it is opened: one whose places cannot be decoded is no slide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.border import library_errors
from wsi_pipeline.slide.model import Level, Reader

LOOK_PX = 64
"""Side of a place that is looked at, level-0 px; the tile under it is decoded whole."""


def first_look(path: Path, reader: Reader, reopen: Callable[[], Reader]) -> Reader:
    """Return the reader, or one opened afresh, once a place in level 0 could be decoded: middle, start or end.

    One broken place spoils a handle, and is no reason to refuse a slide. Raises CorruptSlideError when all three are.
    """
    first: CorruptSlideError | None = None
    for place in _places(reader.facts.levels[0]):
        try:
            with library_errors(path, "cannot be decoded"):
                reader.read_level(0, place)
        except CorruptSlideError as error:
            first, reader = first or error, reopen()
            continue
        return reader if first is None else reopen()
    assert first is not None  # noqa: S101 - there are three places
    raise first


def _places(level: Level) -> Iterator[Box]:
    """Yield three places of a level, level px: in the tile at its middle, in the first and in the last one."""
    (width, height), tile = level.size, level.tile
    for x, y in ((width // 2, height // 2), (0, 0), (width - 1, height - 1)):
        corner = Box(x // tile.width * tile.width, y // tile.height * tile.height, LOOK_PX, LOOK_PX)
        yield corner.intersection(Box(0, 0, width, height))
