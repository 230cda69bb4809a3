"""OpenSlide as a reader: every format it knows, drawn by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, OtherImage, Reader, split_alpha
from wsi_pipeline.slide.ome_xml import stated_candidates
from wsi_pipeline.slide.samples import TOP_LEFT, check_drawn_right, orientation, stored_order_note
from wsi_pipeline.slide.tiff_header import (
    check_brightfield,
    check_complete,
    open_tiff,
    pages_of_sizes,
)
from wsi_pipeline.slide.tiff_images import find_scan
from wsi_pipeline.slide.tiff_mpp import imagej_candidates, px_sizes, tag_candidates
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.units import to_float

PLAIN_VENDORS = frozenset({"aperio", "generic-tiff"})
"""Formats whose levels are TIFF pages of tiles that neither overlap nor are placed by other metadata."""

LEVELS_MAX = 64
"""Most levels of a pyramid: halving 2**22 px takes 22. OpenSlide takes any small tiled images for levels."""

UNKNOWN_TILE = 256
"""Block size for formats that do not state a tile size, level px."""

EXACT_SHIFT = 1 / 256
"""Shift to the right that OpenSlide's interpolation does not see, level px: pixman cuts it down to whole 1/128 px."""

CORNER_REACH = 256
"""How far a box is grown to find a corner that is a whole px in level 0 and in the level, level px."""


class OpenSlideReader(Reader):
    """One OpenSlide handle, which a broken tile spoils for ever.

    OpenSlide interpolates levels whose downsample is not whole (2.0005), by up to a quarter of a level px. ICC profiles
    are not applied.
    """

    _closed = True

    def __init__(self, path: Path, facts: FileFacts | None = None) -> None:
        """Open the file; `facts` are known from an earlier opening, and then nothing is checked again.

        Raises CorruptSlideError and UnsupportedSlideError, openslide.OpenSlideError when OpenSlide refuses the file.
        """
        self.path = path
        self.beside = False
        """Whether OpenSlide shows another image of the file than the slide."""
        self._others: tuple[OtherImage, ...] | None = None
        self._notes: tuple[str, ...] = ()
        self._is_upright = True
        self._px_um: list[tuple[float, float] | None] = []
        self.pages: tuple[TiffPage, ...] = ()
        """The level's pages, where they are all that OpenSlide looks at and their tiles may be decoded directly."""
        self._slide = openslide.OpenSlide(path)
        if self._slide.level_count > LEVELS_MAX:
            self._slide.close()
            raise openslide.OpenSlideUnsupportedFormatError(f"it shows more than {LEVELS_MAX} levels")
        self._downsamples: tuple[float, ...] = self._slide.level_downsamples
        self._closed = False
        self.facts = facts or self._find_facts()

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if not self._closed:
            self._closed = True
            self._slide.close()

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        downsample = self._downsamples[level]
        corner_l0 = round(box_lv.x * downsample), round(box_lv.y * downsample)
        try:
            image = self._slide.read_region(corner_l0, level, box_lv.size)
        except openslide.OpenSlideError as error:
            raise CorruptSlideError(self.path, f"cannot be decoded: {error}", BROKEN_REMEDY) from error
        return split_alpha(np.asarray(image))

    def read_exactly(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level, not interpolated where `is_exact`. Raises CorruptSlideError.

        The box is grown to a corner on both grids, so damage near by spoils it: this is for single tiles.
        """
        downsample = self._downsamples[level]
        x, y = _near_corner(box_lv.x, downsample), _near_corner(box_lv.y, downsample)
        pixels = self.read_level(level, Box(x, y, box_lv.right - x, box_lv.bottom - y))
        window = slice(box_lv.y - y, None), slice(box_lv.x - x, None)
        return LevelPixels(pixels.rgb[window], None if pixels.valid is None else pixels.valid[window])

    def is_exact(self, level: int, box_lv: Box) -> bool:
        """Return whether `read_exactly` shows the box's px as they are stored."""
        downsample = self._downsamples[level]
        corners = (_near_corner(value, downsample) for value in (box_lv.x, box_lv.y))
        return all(_is_shared(corner, downsample) for corner in corners)

    def _find_facts(self) -> FileFacts:
        """Return what OpenSlide and the TIFF header say."""
        properties = self._slide.properties
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        sizes = [Size(*size) for size in self._slide.level_dimensions]
        candidates = self._inspect_tiff(sizes, vendor)
        power = to_float(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        return FileFacts(
            reader="openslide",
            vendor=vendor,
            levels=make_levels(sizes, self._downsamples, self._tile_sizes(), self._px_um),
            bounds_l0=shown_bounds(sizes[0], dict(properties)),
            objective_power=power if power > 0 else None,
            mpp_candidates=tuple(candidates),
            openslide=self._is_upright,  # which tiles are mirrored depends on OpenSlide's version, and on the codec
            warnings=self._notes,
            other_images=self._associated() if self._others is None else self._others,
        )

    def _associated(self) -> tuple[OtherImage, ...]:
        """Return the images that OpenSlide finds beside the scan; their names are its own."""
        properties = self._slide.properties
        found = []
        for name in self._slide.associated_images:
            width, height = (properties.get(f"openslide.associated.{name}.{side}", "0") for side in ("width", "height"))
            found.append(OtherImage(name, Size(int(width), int(height))))
        return tuple(found)

    def _inspect_tiff(self, sizes: list[Size], vendor: str) -> list[MppCandidate]:
        """Check a TIFF-based file's full-size page, note the levels' pages, and return the pixel sizes it states."""
        values = [to_float(self._slide.properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
        stated = stated_candidates("metadata:openslide.mpp-x", values)
        try:
            tiff = open_tiff(self.path)
        except CorruptSlideError:  # not a TIFF, or one that only OpenSlide understands
            return stated
        with tiff:
            matching = pages_of_sizes(tiff, sizes[:1])
            for page in matching:
                check_brightfield(self.path, page)
            if not matching or vendor not in PLAIN_VENDORS:
                return stated
            scan = find_scan(self.path, tiff)
            self.beside = scan.image.size != sizes[0]
            self._others, self._notes = scan.others, scan.warnings
            if self.beside:
                shown, slide = (f"{size.width} x {size.height} px" for size in (sizes[0], scan.image.size))
                self._notes = (f"OpenSlide shows an image of {shown}, not the slide of {slide}",)
            pages = pages_of_sizes(tiff, sizes)
            check_complete(self.path, tiff, pages or matching)
            self._px_um = px_sizes(pages)
            self.pages = _decodable(self.path, pages)
            self._notes += stored_order_note(matching[0])
            self._is_upright = orientation(matching[0]) == TOP_LEFT
            if not self.pages:
                check_drawn_right(self.path, matching[0])
            if vendor == "generic-tiff":  # what OpenSlide states there are the resolution tags
                stated = []
            described = [] if self.beside else scan.image.ome.candidates()
            described += imagej_candidates(tiff, matching[0])
            return [*described, *stated, *tag_candidates(matching[0])]

    def _tile_sizes(self) -> list[Size]:
        """Return the native tile size of each level, level px."""
        properties = self._slide.properties
        return [
            Size(
                int(properties.get(f"openslide.level[{level}].tile-width", UNKNOWN_TILE)),
                int(properties.get(f"openslide.level[{level}].tile-height", UNKNOWN_TILE)),
            )
            for level in range(self._slide.level_count)
        ]


def shown_bounds(full_l0: Size, properties: dict[str, str]) -> Box:
    """Return the frame that viewers show, level-0 px of the full frame.

    QuPath's rule: crop to openslide.bounds-* when its width and its height both differ from the full size.
    """
    names = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]
    try:
        bounds = Box(*(int(properties[name]) for name in names))
    except (KeyError, ValueError):
        return Box(0, 0, *full_l0)
    inside = bounds.intersection(Box(0, 0, *full_l0))
    differ = bounds.width != full_l0.width and bounds.height != full_l0.height
    return bounds if differ and inside == bounds and bounds.area else Box(0, 0, *full_l0)


def _is_shared(value_lv: int, downsample: float) -> bool:
    """Return whether the nearest whole level-0 px is where a whole level px is, as far as OpenSlide's drawing goes."""
    return 0 <= round(value_lv * downsample) / downsample - value_lv <= EXACT_SHIFT


def _near_corner(value_lv: int, downsample: float) -> int:
    """Return the nearest coordinate at or before `value_lv` that both grids share, level px; else `value_lv` itself."""
    candidates = range(value_lv, max(value_lv - CORNER_REACH, -1), -1)
    return next((value for value in candidates if _is_shared(value, downsample)), value_lv)


def _decodable(path: Path, pages: list[Any]) -> tuple[TiffPage, ...]:
    """Return the pages whose tiles may be decoded directly: all of them or none."""
    try:
        found = tuple(TiffPage(path, page) for page in pages)
    except UnsupportedSlideError:
        return ()
    return found if all(page.is_tiled for page in found) else ()
