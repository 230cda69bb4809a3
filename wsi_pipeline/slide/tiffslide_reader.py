"""tiffslide as a reader: TIFFs that OpenSlide does not open, such as OME-TIFF and plain scans without tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader
from wsi_pipeline.slide.tiff_header import (
    BROKEN_REMEDY,
    TIFF_ERRORS,
    check_brightfield,
    check_complete,
    ome_candidates,
    open_tiff,
    stated_candidates,
    tag_candidates,
    to_float,
)
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles


class TiffSlideReader(Reader):
    """Levels and metadata as tiffslide finds them; tiles are decoded directly, since it paints unwritten ones black.

    ICC profiles are not applied.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raises CorruptSlideError, UnsupportedSlideError for anything but 8-bit RGB."""
        from tiffslide import TiffSlide  # noqa: PLC0415 - it brings zarr, 0.2 s that most slides do not need

        with open_tiff(path) as tiff:  # tiffslide's own errors are less clear
            check_brightfield(path, tiff.pages.first)
        try:
            slide = TiffSlide(path)
        except TIFF_ERRORS as error:
            raise CorruptSlideError(path, f"cannot be opened by tiffslide: {error}", BROKEN_REMEDY) from error
        with slide:
            pages = _level_pages(path, slide)
            properties, downsamples = slide.properties, slide.level_downsamples
            check_brightfield(path, pages[0], properties["tiffslide.series-axes"])
            check_complete(path, slide.ts_tifffile, pages)
            candidates = _candidates(slide, pages[0])
            vendor = "ome-tiff" if slide.ts_tifffile.is_ome else properties.get("tiffslide.vendor") or "generic-tiff"
            self.path, self.pages = path, tuple(TiffPage(path, page) for page in pages)
        self._tiles = TiffTiles(path, self.pages)
        power = to_float(properties.get("tiffslide.objective-power"))
        sizes = [page.size for page in self.pages]
        self.facts = FileFacts(
            reader="tiffslide",
            vendor=vendor,
            levels=make_levels(sizes, downsamples, [page.tile for page in self.pages]),
            bounds_l0=Box(0, 0, *sizes[0]),
            objective_power=power if power > 0 else None,
            mpp_candidates=tuple(candidates),
        )

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if hasattr(self, "_tiles"):
            self._tiles.close()

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        return self._tiles.read(level, box_lv)


def _level_pages(path: Path, slide: Any) -> list[Any]:
    """Return the tifffile page of each level, level 0 first."""
    try:
        series = slide.ts_tifffile.series[slide.properties["tiffslide.series-index"]]
        pages = [level.keyframe for level in series.levels]
        sizes = [(page.imagewidth, page.imagelength) for page in pages]
        composed = sizes != [tuple(size) for size in slide.level_dimensions]
    except NotImplementedError as error:
        raise UnsupportedSlideError(path, f"is not one RGB plane: {error}", "export one RGB plane") from error
    except TIFF_ERRORS as error:
        raise CorruptSlideError(path, f"has unreadable metadata: {error}", BROKEN_REMEDY) from error
    if composed:
        raise UnsupportedSlideError(path, "is composed of several scanned areas", "only OpenSlide reads such files")
    return pages


def _candidates(slide: Any, page: Any) -> list[MppCandidate]:
    """Return the pixel sizes that the file states: OME-XML, the vendor's description, then resolution tags."""
    found = ome_candidates(slide.ts_tifffile)
    values = [to_float(slide.properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy"]
    if "tiff.XResolution" not in slide.properties:  # else tiffslide computed them from the tags
        found += stated_candidates("metadata:tiffslide.mpp-x", values)
    return [*found, *tag_candidates(page)]
