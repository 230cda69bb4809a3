"""How others read slides: tile by tile, with OpenSlide or tiffslide, to be measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import tiffslide
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.tiff_header import TIFF_ERRORS

ReadTile = Callable[[Box], NDArray[np.uint8]]
"""From a box, level-0 px of the shown frame, to (H, W, 3) uint8 RGB."""


def openslide_versions() -> dict[str, str]:
    """Return OpenSlide's versions."""
    return {"openslide": openslide.__library_version__, "openslide-python": openslide.__version__}


def tiffslide_versions() -> dict[str, str]:
    """Return tiffslide's version."""
    return {"tiffslide": version("tiffslide")}


PEER_READERS: dict[str, Callable[[], dict[str, str]]] = {
    "openslide": openslide_versions, "tiffslide": tiffslide_versions,
}  # fmt: skip
"""Library -> its versions."""


@contextmanager
def tile_reader(library: str, path: Path, origin_l0: tuple[int, int]) -> Iterator[ReadTile]:
    """Yield what reads a tile at level 0 with `library`; `origin_l0` of the shown frame in the file's full frame.

    Raises UnsupportedSlideError where the library does not open the slide; what is yielded raises CorruptSlideError
    where it does not read a tile.
    """
    x, y = origin_l0
    try:
        opened: Any = openslide.OpenSlide(path) if library == "openslide" else tiffslide.TiffSlide(path)
    except (openslide.OpenSlideError, tiffslide.TiffFileError, OSError, ValueError) as error:
        raise UnsupportedSlideError(path, f"is not opened by {library}: {error}", "compare with another one") from error
    with closing(opened):

        def read(box: Box) -> NDArray[np.uint8]:
            place = (box.x + x, box.y + y)
            try:
                if library == "openslide":
                    return np.asarray(opened.read_region(place, 0, box.size).convert("RGB"))
                return np.asarray(opened.read_region(place, 0, box.size, as_array=True))
            except (openslide.OpenSlideError, *TIFF_ERRORS) as error:
                raise CorruptSlideError(path, f"is not read by {library} at {box.x}, {box.y}: {error}") from error

        yield read
