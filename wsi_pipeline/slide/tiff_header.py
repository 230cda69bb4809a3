"""TIFF structure: is the file sound, is it bright field, and which pixel size does it state."""

from __future__ import annotations

import logging
import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import PHOTOMETRIC, PLANARCONFIG, RESUNIT, TiffFile

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.model import MppCandidate

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # damage is told by our errors, once

TIFF_ERRORS = (ValueError, RuntimeError, OSError, LookupError, TypeError, ArithmeticError, struct.error)
"""What tifffile and imagecodecs raise on damaged files: TiffFileError is a ValueError, codec errors RuntimeErrors."""

UM_PER_UNIT = {
    RESUNIT.INCH: 25_400.0,
    RESUNIT.CENTIMETER: 10_000.0,
    RESUNIT.MILLIMETER: 1_000.0,
    RESUNIT.MICROMETER: 1.0,
}
"""Micrometres per TIFF ResolutionUnit (TIFF 6.0, tag 296, and the units tifffile adds)."""

UM_PER_OME_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
"""Micrometres per OME-XML length unit; the default is µm (OME 2016-06). "pixel" and "reference frame" are none."""

BROKEN_REMEDY = "copy the file again from the scanner or archive"


def open_tiff(path: Path) -> TiffFile:
    """Return the open TIFF; raises CorruptSlideError when its structure cannot be read."""
    try:
        tiff = TiffFile(path)
    except TIFF_ERRORS as error:
        raise CorruptSlideError(path, f"is no readable TIFF: {error}", BROKEN_REMEDY) from error
    try:
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
    """Raise UnsupportedSlideError unless the page is 8-bit RGB, in one plane and `axes` of one image."""
    if page.photometric not in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR} or page.samplesperpixel not in {3, 4}:
        found = f"{page.photometric.name} with {page.samplesperpixel} sample(s) per pixel"
        raise UnsupportedSlideError(
            path, f"is not brightfield RGB: {found}", "fluorescence and grey images have no DAB"
        )
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise UnsupportedSlideError(path, f"has {page.bitspersample} bits per colour, not 8", "export it as 8-bit RGB")
    if axes != "YXS" or page.planarconfig != PLANARCONFIG.CONTIG:
        raise UnsupportedSlideError(path, f"is not one interleaved RGB plane (axes {axes})", "export one RGB plane")


def check_complete(path: Path, tiff: TiffFile, pages: Sequence[Any]) -> None:
    """Raise CorruptSlideError when tiles of the levels (`pages`) or of any other image of the file lie beyond its end.

    The last image of a scan is a small one, so a file that lacks its last bytes would lose a level or its label only.
    """
    length = path.stat().st_size
    known = len(tiff.pages)
    tiff.filehandle.seek(tiff.pages.next_page_offset or 0)
    pointer = tiff.filehandle.read(tiff.tiff.offsetsize)
    if len(pointer) < tiff.tiff.offsetsize or struct.unpack(tiff.tiff.offsetformat, pointer)[0] >= length:
        raise CorruptSlideError(path, f"is truncated: image {known + 1} begins beyond its end", BROKEN_REMEDY)
    images = (*pages, *tiff.pages)
    spans = {span for page in images for span in zip(page.dataoffsets, page.databytecounts, strict=False)}
    beyond = sum(offset + count > length for offset, count in spans)
    if beyond:
        problem = f"is truncated: {beyond} of {len(spans)} tiles lie beyond its end at {length} bytes"
        raise CorruptSlideError(path, problem, BROKEN_REMEDY)


def ome_candidates(tiff: TiffFile) -> list[MppCandidate]:
    """Return the OME-XML physical size of the first image, if it has one with a unit of length."""
    header = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata or "") if tiff.is_ome else None
    if header is None:
        return []
    values = []
    for axis in "XY":
        size = re.search(rf'PhysicalSize{axis}="([^"]*)"', header[0])
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]*)"', header[0])
        scale = UM_PER_OME_UNIT.get(unit[1] if unit else "µm", math.nan)
        values.append(to_float(size[1] if size else None) * scale)
    return stated_candidates("metadata:OME PhysicalSize", values)


def stated_candidates(source: str, values: Sequence[float]) -> list[MppCandidate]:
    """Return the pixel size that metadata states as (x, y), um/px, NaN where absent; one axis stands for both."""
    x, y = values
    x, y = (y if math.isnan(x) else x), (x if math.isnan(y) else y)
    return [] if math.isnan(x) else [MppCandidate(source, x, y, from_tags=False)]


def tag_candidates(page: Any) -> list[MppCandidate]:
    """Return the pixel size by the page's resolution tags, if they carry a unit of length."""
    um = UM_PER_UNIT.get(page.tags.valueof("ResolutionUnit", default=RESUNIT.INCH))
    resolution = [page.tags.valueof(name) for name in ("XResolution", "YResolution")]
    if um is None or not all(isinstance(value, tuple) and all(value) for value in resolution):
        return []
    x, y = (um * denominator / numerator for numerator, denominator in resolution)
    return [MppCandidate("TIFF resolution tags", x, y, from_tags=True)]


def to_float(text: object) -> float:
    """Return the number that a metadata value states, NaN when it states none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan
