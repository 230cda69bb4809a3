"""TIFF structure: is the file sound, and is it bright field."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffFile

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.samples import COLOURS, NOT_RGB, RGB, SAMPLES_MAX

TIFF_ERRORS = (ValueError, RuntimeError, OSError, LookupError, TypeError, ArithmeticError, struct.error)
"""What tifffile and imagecodecs raise on damaged files: TiffFileError is a ValueError, codec errors RuntimeErrors."""

RGB_AXES = frozenset({"YXS", "SYX"})
"""Of pages whose colours lie together, or each in a plane."""


def open_tiff(path: Path) -> TiffFile:
    """Return the open TIFF; raises CorruptSlideError when its structure cannot be read."""
    try:
        tiff = TiffFile(path)
    except TIFF_ERRORS as error:
        raise CorruptSlideError(path, f"is no readable TIFF: {error}", BROKEN_REMEDY) from error
    try:
        tiff.pages.cache = True  # or every walk over the pages reads them again
        if len(tiff.pages) and tiff.pages.first.imagewidth and tiff.pages.first.imagelength:
            return tiff
    except TIFF_ERRORS as error:
        tiff.close()
        raise CorruptSlideError(path, f"is no readable TIFF: {error}", BROKEN_REMEDY) from error
    tiff.close()
    raise CorruptSlideError(path, "is a TIFF without an image", BROKEN_REMEDY)


def pages_of_sizes(tiff: TiffFile, sizes: Sequence[Size]) -> list[Any]:
    """Return the first page of each size (level px), tiled ones before thumbnails; empty unless every size has one."""
    pages = sorted((page.aspage() for page in tiff.pages), key=lambda page: not page.is_tiled)
    found = [next((page for page in pages if (page.imagewidth, page.imagelength) == size), None) for size in sizes]
    return found if all(page is not None for page in found) else []


def check_brightfield(path: Path, page: Any, axes: str = "YXS") -> None:
    """Raise UnsupportedSlideError unless the page is 8-bit RGB, one image by its `axes`, colours in planes or not."""
    if page.photometric in NOT_RGB:
        found, remedy = NOT_RGB[page.photometric]
        raise UnsupportedSlideError(path, f"is not brightfield RGB but {found}", remedy)
    if page.photometric not in RGB or not COLOURS <= page.samplesperpixel <= SAMPLES_MAX:
        found = f"{page.photometric.name} with {page.samplesperpixel} sample(s) per pixel"
        raise UnsupportedSlideError(path, f"is not brightfield RGB: {found}", "export it as 8-bit RGB")
    if page.bitspersample == 8 and page.dtype != np.uint8:
        problem = f"holds colours of type {page.dtype}, which may be negative"
        raise UnsupportedSlideError(path, problem, "export it as 8-bit RGB")
    if page.bitspersample != 8:
        raise UnsupportedSlideError(path, f"has {page.bitspersample} bits per colour, not 8", "export it as 8-bit RGB")
    if axes not in RGB_AXES:
        raise UnsupportedSlideError(path, f"is not one RGB image (axes {axes})", "export one RGB plane")


def check_complete(path: Path, tiff: TiffFile, pages: Sequence[Any]) -> None:
    """Raise CorruptSlideError when tiles of the levels (`pages`) or of another image of the file lie beyond its end."""
    length = path.stat().st_size
    images = (*pages, *tiff.pages)
    spans = {span for page in images for span in zip(page.dataoffsets, page.databytecounts, strict=False)}
    beyond = sum(offset + count > length for offset, count in spans)
    if beyond:
        problem = f"is truncated: {beyond} of {len(spans)} tiles lie beyond its end at {length} bytes"
        raise CorruptSlideError(path, problem, BROKEN_REMEDY)
