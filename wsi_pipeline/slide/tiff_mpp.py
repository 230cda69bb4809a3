"""The pixel sizes that a TIFF states: OME-XML, ImageJ's description, resolution tags."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tifffile import DATATYPE, RESUNIT, TiffFile

from wsi_pipeline.slide.model import MppCandidate
from wsi_pipeline.slide.ome_xml import stated_candidates
from wsi_pipeline.slide.units import um_per

UM_PER_UNIT = {
    RESUNIT.INCH: 25_400.0,
    RESUNIT.CENTIMETER: 10_000.0,
    RESUNIT.MILLIMETER: 1_000.0,
    RESUNIT.MICROMETER: 1.0,
}
"""Micrometres per TIFF ResolutionUnit (TIFF 6.0, tag 296, and the units tifffile adds)."""

RATIONALS = frozenset({DATATYPE.RATIONAL, DATATYPE.SRATIONAL})


def tag_candidates(page: Any) -> list[MppCandidate]:
    """Return the pixel size by the page's resolution tags, if they carry a unit of length.

    Any numeric type will do. An unknown unit, zero or no number is no statement.
    """
    um = UM_PER_UNIT.get(page.tags.valueof("ResolutionUnit", default=RESUNIT.INCH))
    per_unit = resolution_of(page)
    if um is None or per_unit is None:
        return []
    return [MppCandidate("TIFF resolution tags", um / per_unit[0], um / per_unit[1], from_tags=True)]


def imagej_candidates(tiff: TiffFile, page: Any) -> list[MppCandidate]:
    """Return the pixel size as ImageJ means it: px per unit in the resolution tags, the unit in the description."""
    stated = re.search(r"^unit=(.*)$", tiff.pages.first.aspage().imagej_description or "", re.MULTILINE)
    um, per_unit = um_per(stated[1] if stated else None), resolution_of(page)
    if math.isnan(um) or per_unit is None:
        return []
    return stated_candidates("metadata:ImageJ unit", (um / per_unit[0], um / per_unit[1]))


def px_sizes(pages: Sequence[Any]) -> list[tuple[float, float] | None]:
    """Return how large the px of each page are by its resolution tags, along x and y, in their unit."""
    found = [resolution_of(page) for page in pages]
    return [per_unit and (1 / per_unit[0], 1 / per_unit[1]) for per_unit in found]


def resolution_of(page: Any) -> tuple[float, float] | None:
    """Return XResolution and YResolution, px per unit, None unless both are positive numbers."""
    x, y = (_number(page.tags.get(name)) for name in ("XResolution", "YResolution"))
    return (x, y) if 0 < x < math.inf and 0 < y < math.inf else None


def _number(tag: Any) -> float:
    """Return the first number of a tag, NaN where there is none."""
    try:
        values = tag.value if isinstance(tag.value, tuple) else (tag.value,)
        return float(values[0] / values[1]) if tag.dtype in RATIONALS else float(values[0])
    except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError):
        return math.nan
