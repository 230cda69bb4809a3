"""OpenSlide as a reader: the formats it knows, and their tiles decoded directly where that is proven to be the same."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError, WsiHer2Error
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader, split_alpha
from wsi_pipeline.slide.tiff_header import (
    BROKEN_REMEDY,
    check_brightfield,
    check_complete,
    ome_candidates,
    open_tiff,
    pages_of_sizes,
    stated_candidates,
    tag_candidates,
    to_float,
)
from wsi_pipeline.slide.tiff_tiles import TiffTiles

PLAIN_VENDORS = frozenset({"aperio", "generic-tiff"})
"""Formats whose levels are TIFF pages of tiles that neither overlap nor are placed by other metadata."""

GREY_TOLERANCE = 1
"""Grey levels by which our decoding may differ from OpenSlide's: the slack of JPEG 2000 implementations."""

UNKNOWN_TILE = 256
"""Block size for formats that do not state a tile size, level px."""


class OpenSlideReader(Reader):
    """One OpenSlide handle, and the tiles of the same file beside it where `use_tiles` levels may be decoded directly.

    OpenSlide decodes a tile as often as it is asked for and interpolates levels whose reported downsample is not whole
    (2.0005), by up to a quarter of a level px; direct decoding does neither. ICC profiles are not applied.
    """

    _closed = True
    _tiles: TiffTiles | None = None

    def __init__(self, path: Path, tile_levels: frozenset[int] | None = None) -> None:
        """Open the file; `tile_levels` are known from an earlier opening, None has them found by comparison.

        Raises CorruptSlideError and UnsupportedSlideError, openslide.OpenSlideError when OpenSlide refuses the file.
        """
        self._path = path
        self._slide = openslide.OpenSlide(path)
        self._closed = False
        properties = self._slide.properties
        sizes = [Size(*size) for size in self._slide.level_dimensions]
        candidates = self._inspect_tiff(sizes, properties.get(openslide.PROPERTY_NAME_VENDOR, ""))
        power = to_float(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        self.facts = FileFacts(
            reader="openslide",
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            levels=make_levels(sizes, self._slide.level_downsamples, self._tile_sizes()),
            bounds_l0=shown_bounds(sizes[0], dict(properties)),
            objective_power=power if power > 0 else None,
            mpp_candidates=tuple(candidates),
        )
        self.tile_levels = self._provable_levels() if tile_levels is None else tile_levels

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if not self._closed:
            self._closed = True
            self._slide.close()
        if self._tiles is not None:
            self._tiles.close()

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        if self._tiles is not None and level in self.tile_levels:
            try:
                return self._tiles.read(level, box_lv)
            except CorruptSlideError:  # OpenSlide has the last word on what is broken
                return self._read_openslide(level, box_lv)
        return self._read_openslide(level, box_lv)

    def _read_openslide(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px as OpenSlide draws them."""
        downsample = self._slide.level_downsamples[level]
        corner_l0 = round(box_lv.x * downsample), round(box_lv.y * downsample)
        try:
            image = self._slide.read_region(corner_l0, level, box_lv.size)
        except openslide.OpenSlideError as error:
            raise CorruptSlideError(self._path, f"cannot be decoded: {error}", BROKEN_REMEDY) from error
        return split_alpha(np.asarray(image))

    def _inspect_tiff(self, sizes: list[Size], vendor: str) -> list[MppCandidate]:
        """Check a TIFF-based file's full-size page, set up direct decoding, and return the pixel sizes it states."""
        values = [to_float(self._slide.properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
        stated = stated_candidates("metadata:openslide.mpp-x", values)
        try:
            tiff = open_tiff(self._path)
        except CorruptSlideError:  # not a TIFF, or one that only OpenSlide understands
            return stated
        with tiff:
            matching = pages_of_sizes(tiff, sizes[:1])
            for page in matching:
                check_brightfield(self._path, page)
            if not matching or vendor not in PLAIN_VENDORS:
                return stated
            pages = pages_of_sizes(tiff, sizes)
            check_complete(self._path, tiff, pages or matching)
            self._tiles = _tiles_of(self._path, pages)
            if vendor == "generic-tiff":  # what OpenSlide states there are the resolution tags
                stated = []
            return [*ome_candidates(tiff), *stated, *tag_candidates(matching[0])]

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

    def _provable_levels(self) -> frozenset[int]:
        """Return the levels whose tiles, decoded directly, show what OpenSlide shows in one probe tile each.

        Probes use a handle of their own, which a broken tile may spoil.
        """
        if self._tiles is None:
            return frozenset()
        with closing(OpenSlideReader(self._path, frozenset())) as probe:
            return frozenset(level for level in range(len(self.facts.levels)) if self._agrees(probe, level))

    def _agrees(self, probe: OpenSlideReader, level: int) -> bool:
        """Return whether a tile is the same by both ways: the fullest of level 0, the first of others.

        Only corners are whole px at levels with a fractional downsample. OpenSlide draws tiles that were never written
        from the finer level, which direct decoding does not.
        """
        tiles, found = self._tiles, self.facts.levels[level]
        if tiles is None or (level and tiles.has_gaps[level]):
            return False
        probe_lv = tiles.densest(0) if level == 0 else Box(0, 0, *found.tile).intersection(Box(0, 0, *found.size))
        try:
            ours, theirs = tiles.read(level, probe_lv), probe.read_level(level, probe_lv)
        except CorruptSlideError:
            return False
        return _same(ours.rgb, theirs.rgb)


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


def _tiles_of(path: Path, pages: list[object]) -> TiffTiles | None:
    """Return direct access to the pages' tiles, or None where a level has no page of its own or an unknown codec."""
    try:
        return TiffTiles(path, pages) if pages else None
    except WsiHer2Error:
        return None


def _same(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> bool:
    """Return whether two (h, w, 3) uint8 images are alike within GREY_TOLERANCE."""
    return bool(np.abs(ours.astype(np.int16) - theirs).max() <= GREY_TOLERANCE)
