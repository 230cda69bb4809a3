"""OME-Zarr folders as slides: NGFF 0.4 on Zarr v2, as this product writes it; NGFF 0.5 on Zarr v3 without shards."""

from __future__ import annotations

import math
from math import prod
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, MppCandidate, Reader
from wsi_pipeline.slide.ome_xml import OmeImage, stated_candidates
from wsi_pipeline.slide.units import um_per
from wsi_pipeline.slide.zarr_chunks import JSON_ERRORS, ZarrPlane
from wsi_pipeline.slide.zarr_images import find_zarr_scan

OWN_KEY = "wsi-her2"
"""Attribute of the stores that runs write; its "kind" says what they are."""

RED_GREEN_BLUE = ["FF0000", "00FF00", "0000FF"]


class ZarrReader(Reader):
    """One OME-Zarr image. Chunks without a file are fill: see ZarrPlane.read for which of them are glass."""

    def __init__(self, path: Path) -> None:
        """Read the folder's metadata.

        Raises CorruptSlideError (broken JSON, no multiscales, a level missing), UnsupportedSlideError for anything but
        one plane of 8-bit RGB.
        """
        try:
            scan = find_zarr_scan(path)
            image = scan.image
            axes = _axis_names(path, image.multiscale)
            scales = _scales(image.multiscale)
            shown = _shown_colours(image.attributes)
            own = image.attributes.get(OWN_KEY)
            planes = [ZarrPlane(path, folder, axes) for folder in image.folders]
        except (*JSON_ERRORS, OSError) as error:
            raise CorruptSlideError(path, f"has broken OME-Zarr metadata: {error!r}", BROKEN_REMEDY) from error
        if not planes:
            raise CorruptSlideError(path, "is an OME-Zarr image without levels", BROKEN_REMEDY)
        described = image.described or OmeImage()
        _check_brightfield(path, shown, described.fluor)
        order = sorted(range(len(planes)), key=lambda level: prod(planes[level].size), reverse=True)
        self._planes = [planes[level] for level in order]
        sizes = [plane.size for plane in self._planes]
        downsamples = [(sizes[0].width / size.width + sizes[0].height / size.height) / 2 for size in sizes]
        px_um = [next(((own.x, own.y) for own in scales[level]), None) for level in order]
        self.facts = FileFacts(
            reader="zarr",
            vendor=f"{OWN_KEY} {own['kind']}" if own else "ome-zarr",
            levels=make_levels(sizes, downsamples, [plane.tile for plane in self._planes], px_um),
            bounds_l0=Box(0, 0, *sizes[0]),
            objective_power=None,
            mpp_candidates=(*described.candidates(), *scales[order[0]]),
            warnings=scan.warnings,
            other_images=scan.others,
        )

    def close(self) -> None:
        """Do nothing: files are only open while they are read."""

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        return self._planes[level].read(box_lv)


def _axis_names(path: Path, multiscale: dict[str, Any]) -> list[str]:
    """Return the names of the axes. Raises UnsupportedSlideError for NGFF that knew neither their names nor units."""
    axes = multiscale.get("axes", [])
    if not axes or not all(isinstance(axis, dict) for axis in axes):
        raise UnsupportedSlideError(path, "is older than NGFF 0.4: its axes are not described", "write it again as 0.4")
    return [str(axis["name"]) for axis in axes]


def _scales(multiscale: dict[str, Any]) -> list[list[MppCandidate]]:
    """Return the pixel size of each level by its own scale and the units of the axes, nothing where not stated."""
    axes: list[dict[str, Any]] = multiscale["axes"]
    um = {axis["name"]: um_per(axis.get("unit")) for axis in axes}
    found = []
    for dataset in multiscale["datasets"]:
        scale, stated = [1.0] * len(axes), False
        for holder in (dataset, multiscale):
            for transformation in holder.get("coordinateTransformations", []):
                if transformation["type"] == "scale" and "scale" in transformation:
                    stated = True
                    scale = [a * b for a, b in zip(scale, transformation["scale"], strict=True)]
        sizes = {axis["name"]: value * um[axis["name"]] for axis, value in zip(axes, scale, strict=True)}
        values = [sizes.get(axis, math.nan) for axis in "xy"]
        found.append(stated_candidates("metadata:NGFF scale", values) if stated else [])
    return found


def _shown_colours(attributes: dict[str, Any]) -> list[str]:
    """Return the colours in which viewers show the channels, RRGGBB, as far as they are stated."""
    channels = attributes.get("omero", {}).get("channels", [])
    return [str(channel["color"]).upper().removeprefix("#") for channel in channels if "color" in channel]


def _check_brightfield(path: Path, shown: list[str], fluor: str) -> None:
    """Raise UnsupportedSlideError where the metadata says that the three channels are stains, not colours.

    Files of RGB with no colours stated, or with the same one three times, are common; three others are not.
    """
    if fluor or (len(set(shown)) == 3 and shown != RED_GREEN_BLUE):
        found = f"stained with {fluor}" if fluor else f"shown in {', '.join(shown)}"
        problem = f"is not brightfield RGB: its channels are {found}"
        raise UnsupportedSlideError(path, problem, "fluorescence and grey images have no DAB")
