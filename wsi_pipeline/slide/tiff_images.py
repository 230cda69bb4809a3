"""The images that a TIFF holds, their levels, and which of them is the slide."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tifffile import FILETYPE, TiffFile

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.images import ImageFacts, choose_slide, kind_called
from wsi_pipeline.slide.model import OtherImage
from wsi_pipeline.slide.ome_xml import OmeImage, parse_ome
from wsi_pipeline.slide.samples import is_rgb
from wsi_pipeline.slide.tiff_header import TIFF_ERRORS

BY_SERIES = (
    "ome", "imagej", "lsm", "mmstack", "ndtiff", "fluoview", "stk", "sis", "scn", "qpi", "ndpi", "bif", "avs",
    "philips", "scanimage",
)  # fmt: skip
"""Formats in which other metadata than the pages' own says what belongs together, as tifffile calls them."""

BY_PAGES = frozenset({"generic", "uniform", "svs"})
"""Kinds of tifffile's series that are guesses from the pages alone, as ours are."""

STACK = 3
"""So many pages of one size are a stack of focal planes or times, not scans."""

ROUNDING_PX = 1.5
"""By which a level's size may be off without padding, level px."""


SHAPE_TOLERANCE = 0.02
"""Relative difference of two ratios of width to height that are the same but for rounding."""


@dataclass
class TiffImage:
    """One image: its levels' pages, level 0 first, and what the file says about it."""

    pages: list[Any]
    axes: str = "YXS"
    name: str = ""
    kind: str = ""
    ome: OmeImage = field(default_factory=OmeImage)

    @property
    def size(self) -> Size:
        """Size of level 0, px."""
        return Size(self.pages[0].imagewidth, self.pages[0].imagelength)

    def facts(self) -> ImageFacts:
        """Return what the choice of the slide looks at."""
        page = self.pages[0]
        return ImageFacts(self.name, self.size, self.kind, bool(page.is_tiled), len(self.pages), is_rgb(page))


class TiffScan(NamedTuple):
    """The image that is the slide, the others by name, and what people should know about the choice."""

    image: TiffImage
    others: tuple[OtherImage, ...]
    warnings: tuple[str, ...]


def find_scan(path: Path, tiff: TiffFile) -> TiffScan:
    """Return the image that is the slide.

    Raises:
        CorruptSlideError: metadata that cannot be read, or that declares entities.
        UnsupportedSlideError: a stack of planes.
    """
    described = parse_ome(path, tiff.ome_metadata or "") if tiff.is_ome else []
    try:
        images = _from_series(tiff, described) if any(getattr(tiff, f"is_{kind}") for kind in BY_SERIES) else []
        images = images or _from_pages(tiff)
    except NotImplementedError as error:
        raise UnsupportedSlideError(path, f"is not one RGB plane: {error}", "export one RGB plane") from error
    except TIFF_ERRORS as error:
        raise CorruptSlideError(path, f"has unreadable metadata: {error}", BROKEN_REMEDY) from error
    chosen, warnings = choose_slide([image.facts() for image in images])
    if len(images[chosen].axes) > len("YXS"):
        problem = f"is not one RGB plane but a stack (axes {images[chosen].axes})"
        raise UnsupportedSlideError(path, problem, "export one RGB plane")
    others = tuple(image.facts().listed(at + 1) for at, image in enumerate(images) if at != chosen)
    return TiffScan(images[chosen], others, warnings)


def _from_series(tiff: TiffFile, described: Sequence[OmeImage]) -> list[TiffImage]:
    """Return the images as the format's metadata groups the pages, nothing where it turns out not to."""
    if any(series.kind in BY_PAGES for series in tiff.series):
        return []
    left, images = list(described), []
    for series in tiff.series:
        pages = [level.keyframe for level in series.levels]
        size = Size(pages[0].imagewidth, pages[0].imagelength)
        called = [image for image in left if image.name == (series.name or "")] or left
        ome = next((image for image in called if image.size == size), called[0] if called else OmeImage())
        if ome in left:
            left.remove(ome)
        kind = kind_called(series.name or "") or _kind_of(pages[0])
        images.append(TiffImage(pages, series.axes, series.name or "", kind, ome))
    return images


def _from_pages(tiff: TiffFile) -> list[TiffImage]:
    """Return the images of a TIFF that says no more than its pages do: levels are smaller pages of one shape."""
    pages = [page.aspage() for page in tiff.pages]
    images = [TiffImage([page, *_sub_pages(page)], page.axes, kind=_kind_of(page)) for page in pages if page.imagewidth]
    chosen = images[choose_slide([image.facts() for image in images]).place]
    equal = [image for image in images if image.size == chosen.size and image.facts().is_rgb and not image.kind]
    if len(equal) >= STACK:
        raise NotImplementedError(f"it holds {len(equal)} pages of {chosen.size.width} x {chosen.size.height} px")
    others, sizes = [], {chosen.size}
    for image in images:
        if image is chosen or image.kind or image.size in sizes or not _may_be_level(image.pages[0], chosen.pages[0]):
            others.append(image)
            if not image.pages[0].is_tiled and chosen.pages[0].is_tiled and _is_like(image.size, chosen.size):
                image.kind = image.kind or "thumbnail"
        else:
            chosen.pages.append(image.pages[0])
            sizes.add(image.size)
    chosen.pages.sort(key=lambda page: page.imagewidth * page.imagelength, reverse=True)
    listed = {id(image) for image in (chosen, *others)}
    return [image for image in images if id(image) in listed]


def _sub_pages(page: Any) -> Iterator[Any]:
    """Yield the pages of the SubIFDs, which are levels of the page."""
    for sub in page.pages or ():
        if is_rgb(sub.aspage()):
            yield sub.aspage()


def _kind_of(page: Any) -> str:
    """Return what kind of image beside the scan a page says it is, or nothing."""
    lines = [line.partition("|")[0] for line in re.split(r"[\r\n]+", page.description[:400])[:2]]
    kind = next(filter(None, (kind_called(line) for line in lines)), "")
    if kind:
        return kind
    if page.subfiletype & FILETYPE.MASK:
        return "mask"
    return "macro" if page.subfiletype & FILETYPE.MACRO else ""  # Aperio's 9: reduced and macro at once


def _may_be_level(page: Any, full: Any) -> bool:
    """Return whether a page could be a smaller level of another: alike, and with a factor that both axes allow.

    Pages that call themselves reduced may be padded to whole tiles; others could be scans of their own.
    """
    if page.is_tiled != full.is_tiled or is_rgb(page) != is_rgb(full):
        return False
    low, high = 1.0, math.inf
    tile = Size(page.tilewidth, page.tilelength) if page.is_tiled and page.is_reduced else Size(0, 0)
    for reduced, whole, step in zip(_size(page), _size(full), tile, strict=True):
        low = max(low, whole / (reduced + ROUNDING_PX))
        least = reduced - step - ROUNDING_PX
        high = min(high, whole / least if least > 0 else math.inf)
    return high > 1 and low <= high and page.imagewidth * page.imagelength < full.imagewidth * full.imagelength


def _is_like(size: Size, full: Size) -> bool:
    """Return whether a small image has the shape of a large one, as its thumbnail has."""
    return size.width < full.width and abs(full.width * size.height / (full.height * size.width) - 1) < SHAPE_TOLERANCE


def _size(page: Any) -> Size:
    """Return a page's size, px."""
    return Size(page.imagewidth, page.imagelength)
