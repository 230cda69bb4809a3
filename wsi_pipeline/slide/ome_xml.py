"""OME-XML: the images that it describes, in its order, with their pixel sizes."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.model import MppCandidate
from wsi_pipeline.slide.units import to_float, um_per

NAMESPACE_MARK = "}"
"""What the parser puts between an element's namespace and its name, whatever prefix the file uses."""

DEFAULT_UNIT = "\u00b5m"
"""Unit of a physical size that states none (OME 2016-06)."""


@dataclass
class OmeImage:
    """One Image element."""

    name: str = ""
    size: Size | None = None
    """SizeX and SizeY, px; None where they are not stated."""
    mpp: tuple[float, float] = (math.nan, math.nan)
    """PhysicalSizeX and PhysicalSizeY, um/px; NaN where not stated, or in no unit of length."""
    fluor: str = ""
    """Fluorophore of its first channel that states one."""

    def candidates(self) -> list[MppCandidate]:
        """Return the pixel size, if it is stated; one axis stands for both."""
        return stated_candidates("metadata:OME PhysicalSize", self.mpp)


class _Collector:
    """Gathers Image elements while the parser walks through the text."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._within: list[str] = []
        self.images: list[OmeImage] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take note of an element that begins."""
        name = tag.rpartition(NAMESPACE_MARK)[2]
        parent = self._within[-1] if self._within else ""
        self._within.append(name)
        if name == "Image" and len(self._within) == 2:  # the schema has them right below the root
            self.images.append(OmeImage(attributes.get("Name", "")))
        elif name == "Pixels" and parent == "Image" and self.images and self.images[-1].size is None:
            self._describe(self.images[-1], attributes)
        elif name == "Channel" and parent == "Pixels" and self.images and not self.images[-1].fluor:
            self.images[-1].fluor = attributes.get("Fluor", "")

    def end(self, _tag: str) -> None:
        """Take note of an element that ends."""
        self._within.pop()

    def refuse(self, *_entity: object) -> None:
        """Raise CorruptSlideError: entities that a file declares itself may grow without bound or name other files."""
        problem = "declares entities in its OME-XML, which no microscope does"
        raise CorruptSlideError(self._path, problem, "write the file again with a program for OME-TIFF")

    @staticmethod
    def _describe(image: OmeImage, pixels: dict[str, str]) -> None:
        """Take over what a Pixels element says."""
        width, height = (to_float(pixels.get(f"Size{axis}")) for axis in "XY")
        if 0 < width < math.inf and 0 < height < math.inf:
            image.size = Size(int(width), int(height))
        x, y = (
            to_float(pixels.get(f"PhysicalSize{axis}")) * um_per(pixels.get(f"PhysicalSize{axis}Unit", DEFAULT_UNIT))
            for axis in "XY"
        )
        image.mpp = (x, y)


def parse_ome(path: Path, xml: str) -> list[OmeImage]:
    """Return the images that OME-XML in the file `path` describes, those before the first error of syntax.

    Prefixes, the order of attributes and character references are XML's business. Nothing is fetched, and nothing is
    expanded but what XML itself defines. Raises CorruptSlideError for text that declares entities.
    """
    found = _Collector(path)
    parser = expat.ParserCreate("utf-8", namespace_separator=NAMESPACE_MARK)  # whatever the declaration says
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.EntityDeclHandler = found.refuse
    with suppress(expat.ExpatError):  # what is not well formed states nothing from there on
        parser.Parse(xml.encode("utf-8", errors="replace"), True)
    return found.images


def image_of_size(images: list[OmeImage], size: Size) -> OmeImage | None:
    """Return the first image that is `size` px, else the first without a size, else None."""
    fits = [image for image in images if image.size == size] or [image for image in images if image.size is None]
    return fits[0] if fits else None


def stated_candidates(source: str, values: tuple[float, float] | list[float]) -> list[MppCandidate]:
    """Return the pixel size that metadata states as (x, y), um/px, NaN where absent; one axis stands for both."""
    x, y = values
    x, y = (y if math.isnan(x) else x), (x if math.isnan(y) else y)
    return [] if math.isnan(x) else [MppCandidate(source, x, y, from_tags=False)]
