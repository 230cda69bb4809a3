"""The metadata of an image store: NGFF 0.4 attributes for napari and viv, OME-XML for Bio-Formats and QuPath."""

from __future__ import annotations

import re
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wsi_pipeline.geometry import Mpp, Size, ceil_div

MICROMETRE = "\u00b5m"
"""OME-XML's unit with the micro sign U+00B5; with the Greek letter mu (U+03BC) Bio-Formats cannot open the image."""

RGB_CHANNELS = (("Red", -16776961, "FF0000"), ("Green", 16711935, "00FF00"), ("Blue", 65535, "0000FF"))
"""Name, OME colour (signed RGBA) and hexadecimal colour; exactly these names make QuPath take the image as RGB."""

GRAY_CHANNEL = (("Gray", -1, "FFFFFF"),)
"""The one channel of a grey map, shown white on black."""

OME_TYPES = {"uint8": "uint8", "uint16": "uint16", "float32": "float"}
"""NumPy's name of a pixel type, and OME-XML's."""

KIND_KEY = "wsi-her2"
"""Attribute of our own stores, which says that they are no scan."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 forbids even when escaped."""


class MapSpec(BaseModel):
    """What an image store holds: its size, kind, pixel size and name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_map: Size = Field(description="full-resolution size of the map, map px")
    channels: Literal["rgb", "gray"] = Field(description="rgb: three uint8 channels on white; gray: one channel on 0")
    mpp_map: Mpp = Field(description="size of a full-resolution map pixel, um")
    mpp_slide: Mpp | None = Field(None, description="size of a level-0 px of the slide below; None: the image's own")
    name: str = Field(description="image name that viewers show")
    dtype: Literal["uint8", "uint16", "float32"] = Field("uint8", description="pixel type; rgb is always uint8")
    chunk: int = Field(256, ge=16, le=1024, description="side of a square chunk, px; QuPath wants 256 to 1024")
    kind: Literal["map", "virtual stain", "scan"] = Field(
        "map", description="what the pixels are, so that nobody scores a picture of a result as if it were a slide"
    )
    display_range: tuple[float, float] = Field((0.0, 255.0), description="values shown black and white, fixed")

    @field_validator("size_map")
    @classmethod
    def _not_empty(cls, size: Size) -> Size:
        """Refuse an image without pixels."""
        if min(size) < 1:
            raise ValueError(f"the map has no pixels: {size.width} x {size.height}")
        return size

    @field_validator("dtype")
    @classmethod
    def _rgb_is_uint8(cls, dtype: str, info: Any) -> str:
        """Refuse RGB in anything but uint8, which QuPath would show as three fluorescence channels."""
        if info.data.get("channels") == "rgb" and dtype != "uint8":
            raise ValueError(f"an rgb map must be uint8, not {dtype}")
        return dtype

    @property
    def fill(self) -> int:
        """Value of chunks that were never written: white for RGB, 0 for gray."""
        return 255 if self.channels == "rgb" else 0

    @property
    def channel_count(self) -> int:
        """3 for RGB, 1 for gray."""
        return len(self.channel_table)

    @property
    def channel_table(self) -> tuple[tuple[str, int, str], ...]:
        """Name, OME colour and hexadecimal colour of each channel."""
        return RGB_CHANNELS if self.channels == "rgb" else GRAY_CHANNEL


def level_sizes(size_map: Size, chunk: int) -> list[Size]:
    """Return the sizes of all levels, px: each half of the last, rounded up, until the larger side fits one chunk."""
    sizes = [size_map]
    while max(sizes[-1]) > chunk:
        sizes.append(Size(ceil_div(sizes[-1].width, 2), ceil_div(sizes[-1].height, 2)))
    return sizes


def ngff_attributes(spec: MapSpec) -> dict[str, Any]:
    """Return the `.zattrs` of the image group (NGFF 0.4, https://ngff.openmicroscopy.org/0.4/)."""
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    datasets = [_dataset(spec, level) for level in range(len(level_sizes(spec.size_map, spec.chunk)))]
    low, high = (0.0, 255.0) if spec.channels == "rgb" else spec.display_range
    least, most = (0.0, 255.0) if spec.dtype == "uint8" else (low, high)
    window = {"min": least, "max": most, "start": low, "end": high}
    channels = [
        {"label": name, "color": colour, "window": window, "active": True} for name, _, colour in spec.channel_table
    ]
    model = "color" if spec.channels == "rgb" else "greyscale"
    own = {} if spec.kind == "scan" else {KIND_KEY: {"kind": spec.kind}}
    return {
        **own,
        "multiscales": [{"version": "0.4", "name": spec.name, "axes": axes, "datasets": datasets}],
        "omero": {"version": "0.4", "name": spec.name, "channels": channels, "rdefs": {"model": model}},
    }


def _dataset(spec: MapSpec, level: int) -> dict[str, Any]:
    """Return one level's path and place.

    NGFF places pixel centres, and the slide's first one lies at 0: that of a px n times as wide lies (n - 1) / 2 slide
    px further, so that the corners of the two coincide.
    """
    pixel, below = spec.mpp_map.scaled(2**level), spec.mpp_slide or spec.mpp_map
    scale = [1.0, pixel.y, pixel.x]
    translation = [0.0, (pixel.y - below.y) / 2, (pixel.x - below.x) / 2]
    return {
        "path": str(level),
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": translation},
        ],
    }


def ome_xml(spec: MapSpec) -> str:
    """Return `OME/METADATA.ome.xml`, from which alone QuPath takes pixel size, channel names, colours and RGB."""
    schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    name = quoteattr(_NOT_XML.sub("\ufffd", spec.name))
    channels = "".join(
        f'<Channel ID="Channel:0:{index}" Name="{label}" Color="{colour}" SamplesPerPixel="1"/>'
        for index, (label, colour, _) in enumerate(spec.channel_table)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<OME xmlns="{schema}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" Creator="wsi-her2"'
        f' xsi:schemaLocation="{schema} {schema}/ome.xsd">'
        f'<Image ID="Image:0" Name={name}>'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{OME_TYPES[spec.dtype]}" BigEndian="false"'
        f' Interleaved="false" SizeX="{spec.size_map.width}" SizeY="{spec.size_map.height}"'
        f' SizeC="{spec.channel_count}" SizeZ="1" SizeT="1"'
        f' PhysicalSizeX="{spec.mpp_map.x!r}" PhysicalSizeXUnit="{MICROMETRE}"'
        f' PhysicalSizeY="{spec.mpp_map.y!r}" PhysicalSizeYUnit="{MICROMETRE}">'
        f"{channels}<MetadataOnly/></Pixels></Image></OME>\n"
    )
