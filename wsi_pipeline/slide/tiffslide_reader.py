"""TIFFs that OpenSlide does not open, such as OME-TIFF and plain scans without tiles; tiffslide knows some vendors'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tifffile import TiffFile
from tifffile.tifffile import svs_description_metadata

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader
from wsi_pipeline.slide.ome_xml import stated_candidates
from wsi_pipeline.slide.samples import stored_order_note
from wsi_pipeline.slide.tiff_header import TIFF_ERRORS, check_brightfield, check_complete, open_tiff
from wsi_pipeline.slide.tiff_images import find_scan
from wsi_pipeline.slide.tiff_mpp import imagej_candidates, px_sizes, tag_candidates
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles
from wsi_pipeline.slide.units import to_float

BY_TIFFSLIDE = ("scn", "bif", "ndpi", "philips")
"""Vendors' formats whose metadata tiffslide reads, as tifffile calls them."""


class _Vendor(NamedTuple):
    """What a vendor's metadata says."""

    name: str
    power: float
    mpp: list[MppCandidate]


class TiffSlideReader(Reader):
    """The image of a TIFF that is the slide, and its levels; tiles are decoded directly.

    ICC profiles are not applied.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raises CorruptSlideError, UnsupportedSlideError for anything but 8-bit RGB."""
        with open_tiff(path) as tiff:
            scan = find_scan(path, tiff)
            pages = scan.image.pages
            check_brightfield(path, pages[0], scan.image.axes)
            check_complete(path, tiff, pages)
            vendor = _vendor(path, tiff, pages)
            candidates = [*scan.image.ome.candidates(), *vendor.mpp, *imagej_candidates(tiff, pages[0])]
            candidates += tag_candidates(pages[0])
            px_um = px_sizes(pages)
            notes = stored_order_note(pages[0])
            self.path, self.pages = path, tuple(TiffPage(path, page) for page in pages)
        self._tiles = TiffTiles(path, self.pages)
        sizes = [page.size for page in self.pages]
        downsamples = [(sizes[0].width / size.width + sizes[0].height / size.height) / 2 for size in sizes]
        self.facts = FileFacts(
            reader="tiffslide",
            vendor=vendor.name,
            levels=make_levels(sizes, downsamples, [page.tile for page in self.pages], px_um),
            bounds_l0=Box(0, 0, *sizes[0]),
            objective_power=vendor.power if vendor.power > 0 else None,
            mpp_candidates=tuple(candidates),
            warnings=(*scan.warnings, *notes),
            other_images=scan.others,
        )

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if hasattr(self, "_tiles"):
            self._tiles.close()

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        return self._tiles.read(level, box_lv)


def _vendor(path: Path, tiff: TiffFile, pages: Sequence[Any]) -> _Vendor:
    """Return what the vendor's metadata says about the slide, whose levels are `pages`."""
    if tiff.is_ome:
        return _Vendor("ome-tiff", 0, [])
    if any(getattr(tiff, f"is_{kind}") for kind in BY_TIFFSLIDE):
        return _by_tiffslide(path, pages)
    if not tiff.is_svs:
        return _Vendor("generic-tiff", 0, [])
    try:
        stated = svs_description_metadata(tiff.pages.first.aspage().description)
    except TIFF_ERRORS:
        stated = {}
    mpp = to_float(stated.get("MPP"))
    return _Vendor("aperio", to_float(stated.get("AppMag")), stated_candidates("metadata:Aperio MPP", [mpp, mpp]))


def _by_tiffslide(path: Path, pages: Sequence[Any]) -> _Vendor:
    """Return what tiffslide makes of a vendor's metadata. Raises UnsupportedSlideError where it sees other levels."""
    from tiffslide import TiffSlide  # noqa: PLC0415 - it brings zarr, 0.2 s that most slides do not need

    try:
        with TiffSlide(path) as slide:
            properties, sizes = slide.properties, [tuple(size) for size in slide.level_dimensions]
    except NotImplementedError as error:
        raise UnsupportedSlideError(path, f"is not one RGB plane: {error}", "export one RGB plane") from error
    except TIFF_ERRORS as error:
        raise CorruptSlideError(path, f"cannot be opened by tiffslide: {error}", BROKEN_REMEDY) from error
    if sizes != [(page.imagewidth, page.imagelength) for page in pages]:
        raise UnsupportedSlideError(path, "is composed of several scanned areas", "only OpenSlide reads such files")
    values = [to_float(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy"]
    computed = "tiff.XResolution" in properties  # from the tags
    mpp = [] if computed else stated_candidates("metadata:tiffslide.mpp-x", values)
    name = properties.get("tiffslide.vendor") or "generic-tiff"
    return _Vendor(name, to_float(properties.get("tiffslide.objective-power")), mpp)
