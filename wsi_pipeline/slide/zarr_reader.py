"""OME-Zarr folders as slides: NGFF 0.4 on Zarr v2, as this product writes it; NGFF 0.5 on Zarr v3 without shards."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader
from wsi_pipeline.slide.tiff_header import BROKEN_REMEDY, UM_PER_OME_UNIT, stated_candidates, to_float
from wsi_pipeline.slide.zarr_chunks import JSON_ERRORS, ZarrPlane, read_json

METADATA_FILES = (".zattrs", ".zgroup", ".zarray", "zarr.json")
"""One of them makes a folder a Zarr folder (Zarr v2, v3)."""

OME_XML = Path("OME", "METADATA.ome.xml")

OWN_KEY = "wsi-her2"
"""Attribute of the stores that runs write; its "kind" says what they are."""

COLLECTION, FIRST_IMAGE = "bioformats2raw.layout", "0"
"""Attribute of a folder of several images, as converters write slides, and the one that is the scan: the others are
thumbnail, label and macro."""

UM_PER_NGFF_UNIT = UM_PER_OME_UNIT | {
    "angstrom": 1e-4, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip
"""Micrometres per unit of an NGFF axis (UDUNITS-2 names, and OME's symbols, which some writers use)."""

RED_GREEN_BLUE = ["FF0000", "00FF00", "0000FF"]


class ZarrReader(Reader):
    """One OME-Zarr image. Chunks without a file are fill: see ZarrPlane.read for which of them are glass."""

    def __init__(self, path: Path) -> None:
        """Read the folder's metadata.

        Raises CorruptSlideError (broken JSON, no multiscales, a level missing), UnsupportedSlideError for anything but
        one plane of 8-bit RGB.
        """
        try:
            image, attributes = _image(path)
            multiscale = attributes["multiscales"][0]
            axes = _axis_names(path, multiscale)
            folders = [image / dataset["path"] for dataset in multiscale["datasets"]]
            candidates = _scale_candidates(multiscale)
            shown = _shown_colours(attributes)
            own = attributes.get(OWN_KEY)
        except (*JSON_ERRORS, OSError) as error:
            raise CorruptSlideError(path, f"has broken OME-Zarr metadata: {error!r}", BROKEN_REMEDY) from error
        if not folders:
            raise CorruptSlideError(path, "is an OME-Zarr image without levels", BROKEN_REMEDY)
        xml = _text(path / OME_XML)
        planes = [ZarrPlane(path, folder, axes) for folder in folders]
        _check_brightfield(path, shown, xml)
        self._planes = sorted(planes, key=lambda plane: plane.size.width * plane.size.height, reverse=True)
        sizes = [plane.size for plane in self._planes]
        downsamples = [(sizes[0].width / size.width + sizes[0].height / size.height) / 2 for size in sizes]
        self.facts = FileFacts(
            reader="zarr",
            vendor=f"{OWN_KEY} {own['kind']}" if own else "ome-zarr",
            levels=make_levels(sizes, downsamples, [plane.tile for plane in self._planes]),
            bounds_l0=Box(0, 0, *sizes[0]),
            objective_power=None,
            mpp_candidates=(*_xml_candidates(xml), *candidates),
        )

    def close(self) -> None:
        """Do nothing: files are only open while they are read."""

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        return self._planes[level].read(box_lv)


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a Zarr group or array, sound or not."""
    return any((folder / name).exists() for name in METADATA_FILES)


def _image(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the image's levels and its attributes.

    Raises CorruptSlideError where there is no image, ValueError and OSError where the metadata cannot be read.
    """
    attributes = _attributes(path)
    if "multiscales" in attributes:
        return path, attributes
    if COLLECTION in attributes:
        first = path / FIRST_IMAGE
        attributes = _attributes(first)
        if "multiscales" in attributes:
            return first, attributes
    problem = "is a Zarr folder without an OME-Zarr image: its attributes have no multiscales"
    raise CorruptSlideError(path, problem, "name the folder of the image, which ends in .zarr")


def _attributes(group: Path) -> dict[str, Any]:
    """Return a group's NGFF attributes: of NGFF 0.4 where both are there, as QuPath reads it."""
    if (group / ".zattrs").exists():
        return read_json(group / ".zattrs")
    if not (group / "zarr.json").exists():
        return {}
    attributes: dict[str, Any] = read_json(group / "zarr.json").get("attributes", {}).get("ome", {})
    return attributes


def _axis_names(path: Path, multiscale: dict[str, Any]) -> list[str]:
    """Return the names of the axes. Raises UnsupportedSlideError for NGFF that knew neither their names nor units."""
    axes = multiscale.get("axes", [])
    if not axes or not all(isinstance(axis, dict) for axis in axes):
        raise UnsupportedSlideError(path, "is older than NGFF 0.4: its axes are not described", "write it again as 0.4")
    return [str(axis["name"]) for axis in axes]


def _scale_candidates(multiscale: dict[str, Any]) -> list[MppCandidate]:
    """Return the pixel size by the scale of the full-size level and the units of its axes, if they have any."""
    axes: list[dict[str, Any]] = multiscale["axes"]
    scale = [1.0] * len(axes)
    stated = False
    for holder in (multiscale["datasets"][0], multiscale):
        for transformation in holder.get("coordinateTransformations", []):
            if transformation["type"] == "scale" and "scale" in transformation:
                stated = True
                scale = [a * b for a, b in zip(scale, transformation["scale"], strict=True)]
    um = {axis["name"]: UM_PER_NGFF_UNIT.get(axis.get("unit", ""), math.nan) for axis in axes}
    sizes = {axis["name"]: value * um[axis["name"]] for axis, value in zip(axes, scale, strict=True)}
    values = [sizes.get(axis, math.nan) for axis in "xy"]
    return stated_candidates("metadata:NGFF scale", values) if stated else []


def _xml_candidates(xml: str) -> list[MppCandidate]:
    """Return the physical size of the first image in OME-XML; without a unit it is in um (OME 2016-06)."""
    header = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    stated = dict(re.findall(r'(PhysicalSize[XY](?:Unit)?)="([^"]*)"', header[0] if header else ""))
    um = [UM_PER_OME_UNIT.get(stated.get(f"PhysicalSize{axis}Unit", "\u00b5m"), math.nan) for axis in "XY"]
    values = [to_float(stated.get(f"PhysicalSize{axis}")) * unit for axis, unit in zip("XY", um, strict=True)]
    return stated_candidates("metadata:OME PhysicalSize", values)


def _shown_colours(attributes: dict[str, Any]) -> list[str]:
    """Return the colours in which viewers show the channels, RRGGBB, as far as they are stated."""
    channels = attributes.get("omero", {}).get("channels", [])
    return [str(channel["color"]).upper().removeprefix("#") for channel in channels if "color" in channel]


def _check_brightfield(path: Path, shown: list[str], xml: str) -> None:
    """Raise UnsupportedSlideError where the metadata says that the three channels are stains, not colours.

    Files of RGB with no colours stated, or with the same one three times, are common; three others are not.
    """
    fluor = re.search(r'<(?:\w+:)?Channel\b[^>]*\bFluor="([^"]+)"', xml.partition("</Image>")[0])
    if fluor or (len(set(shown)) == 3 and shown != RED_GREEN_BLUE):
        found = f"stained with {fluor[1]}" if fluor else f"shown in {', '.join(shown)}"
        problem = f"is not brightfield RGB: its channels are {found}"
        raise UnsupportedSlideError(path, problem, "fluorescence and grey images have no DAB")


def _text(path: Path) -> str:
    """Return a file's text, nothing where it cannot be read: what it says is a convenience."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
