"""The images that an OME-Zarr folder holds, and which of them is the slide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.images import ImageFacts, choose_slide, kind_called
from wsi_pipeline.slide.model import OtherImage
from wsi_pipeline.slide.ome_xml import OmeImage, image_of_size, parse_ome
from wsi_pipeline.slide.zarr_chunks import JSON_ERRORS, read_json

METADATA_FILES = (".zattrs", ".zgroup", ".zarray", "zarr.json")
"""One of them makes a folder a Zarr folder (Zarr v2, v3)."""

OME_FOLDER = "OME"
"""Group beside the images of a folder of several, as converters write slides: its attributes may name their order."""

XML_FILE = "METADATA.ome.xml"

IMAGES_MAX = 100
"""Images of a folder that are looked at; slides have four."""


@dataclass(frozen=True)
class ZarrImage:
    """One multiscale image."""

    folder: Path
    attributes: dict[str, Any]
    """NGFF attributes of its group."""
    multiscale: dict[str, Any]
    name: str = ""
    described: OmeImage | None = None
    """What OME-XML beside it says."""

    @property
    def folders(self) -> list[Path]:
        """The arrays of its levels, in the order of its metadata."""
        return [self.folder / dataset["path"] for dataset in self.multiscale["datasets"]]

    def facts(self) -> ImageFacts:
        """Return what the choice of the slide looks at."""
        found = [_looked_at(folder, self.multiscale.get("axes", [])) for folder in self.folders]
        size, is_rgb = max(found, key=lambda each: each[0].width * each[0].height, default=(Size(0, 0), False))
        return ImageFacts(self.name, size, kind_called(self.name), levels=len(found), is_rgb=is_rgb)


class ZarrScan(NamedTuple):
    """The image that is the slide, the others by name, and what people should know about the choice."""

    image: ZarrImage
    others: tuple[OtherImage, ...]
    warnings: tuple[str, ...]


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr group or array, sound or not."""
    return any((folder / name).exists() for name in METADATA_FILES)


def find_zarr_scan(path: Path) -> ZarrScan:
    """Return the image that is the slide.

    Raises:
        CorruptSlideError: a folder without an image, or OME-XML that declares entities.
        One of JSON_ERRORS, OSError: metadata that cannot be read.
    """
    described = parse_ome(path, _text(path / OME_FOLDER / XML_FILE))
    found = list(_images(path))
    if not found:
        problem = "is a Zarr folder without an OME-Zarr image: its attributes have no multiscales"
        raise CorruptSlideError(path, problem, "name the folder of the image, which ends in .zarr")
    images = [_with_xml(image, described, at) for at, image in enumerate(found)]
    facts = [image.facts() for image in images]
    chosen, warnings = choose_slide(facts)
    others = tuple(each.listed(at + 1) for at, each in enumerate(facts) if at != chosen)
    return ZarrScan(images[chosen], others, warnings)


def _images(path: Path) -> Iterator[ZarrImage]:
    """Yield the images of a folder: its own, else those of the folders in it, in the order of OME-XML."""
    for folder in (path, *_children(path)):
        attributes = _attributes(folder)
        if "multiscales" not in attributes:
            continue
        if not attributes["multiscales"]:
            raise ValueError(f"{folder.name} has an empty list of multiscales")
        for multiscale in attributes["multiscales"]:
            yield ZarrImage(folder, attributes, multiscale, str(multiscale.get("name") or ""))
        if folder == path:
            return


def _children(path: Path) -> list[Path]:
    """Return the folders that may be images: those that the collection names, else all, by number and name."""
    named = _attributes(path / OME_FOLDER).get("series")
    if named:
        return [path / str(name) for name in named][:IMAGES_MAX]
    found = [folder for folder in path.iterdir() if folder.name != OME_FOLDER and folder.is_dir() and is_zarr(folder)]
    return sorted(found, key=_order)[:IMAGES_MAX]


def _with_xml(image: ZarrImage, described: Sequence[OmeImage], number: int) -> ZarrImage:
    """Return an image with what OME-XML says of it: the one of its number, unless that is of another size."""
    size = image.facts().size
    sized = [other for other in described if other.size is not None]
    found = image_of_size(list(described[number : number + 1]), size) or image_of_size(sized, size)
    called = next((name for name in (image.name, found.name if found else "") if kind_called(name)), image.name)
    return ZarrImage(image.folder, image.attributes, image.multiscale, called or (found.name if found else ""), found)


def _attributes(group: Path) -> dict[str, Any]:
    """Return a group's NGFF attributes: of NGFF 0.4 where both are there, as QuPath reads it."""
    if (group / ".zattrs").exists():
        return read_json(group / ".zattrs")
    if not (group / "zarr.json").exists():
        return {}
    attributes: dict[str, Any] = read_json(group / "zarr.json").get("attributes", {}).get("ome", {})
    return attributes


def _looked_at(folder: Path, axes: Sequence[Any]) -> tuple[Size, bool]:
    """Return an array's size, px, and whether it holds three channels of 8 bits; no size where it cannot be read."""
    file = next((folder / name for name in (".zarray", "zarr.json") if (folder / name).exists()), None)
    try:
        stored = read_json(file) if file else {}
        shape = [int(side) for side in stored["shape"]]
        names = [axis["name"] for axis in axes] if axes and isinstance(axes[0], dict) else list("tczyx"[-len(shape) :])
        sides = dict(zip(names, shape, strict=True))
        is_8_bit = str(stored.get("data_type") or stored.get("dtype")) in {"uint8", "|u1", "<u1", ">u1"}
        return Size(sides["x"], sides["y"]), is_8_bit and sides.get("c") == 3
    except (*JSON_ERRORS, OSError):
        return Size(0, 0), False


def _text(path: Path) -> str:
    """Return a file's text, nothing where it cannot be read: what it says is a convenience."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _order(folder: Path) -> list[tuple[int, str]]:
    """Return what sorts folders as people count: 2 before 10."""
    parts = re.findall(r"\d+|\D+", folder.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
