"""Maps as one file: a pyramidal OME-TIFF, its levels in SubIFDs, streamed from an image store."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from tifffile import TiffWriter

from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.export.ngff import MICROMETRE, OME_TYPES
from wsi_pipeline.export.zarr_map import MapStore, Pixels
from wsi_pipeline.geometry import Box, Mpp, Size

SUFFIXES = (".ome.tif", ".ome.tiff")
"""By these names programs take a TIFF for an OME-TIFF."""

QUALITY = 80
"""libjpeg's quality: without a change to YCbCr, 1.2 grey levels of mean error on DAB at an eighth of the bytes."""

JPEG_RGB = {"colorspace": "rgb", "outcolorspace": "rgb"}
"""The planes of the JPEGs are R, G and B. Of YCbCr, Bio-Formats 7 shows full-size chroma in wrong colours (it converts
twice when YCbCrSubSampling is 1, 1), and smaller chroma washes out thin brown membranes and the edges of class maps."""

TILE_SIDES_PX = (512, 256)
"""Sides of a square tile, best first: the largest that divides the store's chunk, so that no chunk is decoded twice."""

RUN_PX = 4096
"""Width of the blocks that are read at a time, px: 3 MB of RGB in 256 px rows, whatever the width of the image."""

ENCODE_BUFFER_BYTES = 32 * 2**20
"""Pixels that wait for tifffile's encoding threads; its own default is 512 MB."""

CLASSIC_BYTES = 2**32 // 2
"""Pixels above which the file is a BigTIFF: a classic one ends at 4 GiB, and noise may grow under compression."""

SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


class _Facts(NamedTuple):
    """What the store says of its image: name, um per full-resolution px."""

    name: str
    mpp: Mpp


def write_ome_tiff(store: MapStore, path: Path, *, quality: int = QUALITY) -> None:
    """Write `store`, its pyramid built, to `path` (`.ome.tif`, `.ome.tiff`), which appears whole or keeps what it held.

    RGB is JPEG of `quality` (1-100); grey of any type is deflated, so exact. Raises UsageError, OutputError,
    ResourceError.
    """
    if not path.name.endswith(SUFFIXES):
        raise OutputError(path, f"must end in {' or '.join(SUFFIXES)}", "viewers know an OME-TIFF by its name")
    if not 1 <= quality <= 100:
        raise UsageError("quality", f"{quality} is not between 1 and 100")
    facts = _facts(store)

    def write(file: BinaryIO) -> None:
        with TiffWriter(file, bigtiff=_pixel_bytes(store) > CLASSIC_BYTES, ome=False) as tiff:
            for level in range(len(store.levels)):
                _write_level(tiff, store, level, facts, quality)

    write_atomic(path, write)


def _write_level(tiff: TiffWriter, store: MapStore, level: int, facts: _Facts, quality: int) -> None:
    """Append one level: the first as the file's only page, the others as that page's SubIFDs."""
    channels, height, width = store.levels[level].shape
    dtype = store.levels[level].dtype
    side = next((side for side in TILE_SIDES_PX if store.chunk % side == 0), TILE_SIDES_PX[-1])
    is_rgb = channels == 3
    jpeg = {"compression": "jpeg", "compressionargs": {"level": quality, **JPEG_RGB}, "photometric": "rgb"}
    deflate = {"compression": "adobe_deflate", "photometric": "minisblack"}
    first = {"subifds": len(store.levels) - 1, "description": ome_xml(store, facts).encode()}
    tiff.write(
        _tiles(store, level, side),
        shape=(height, width, channels) if is_rgb else (height, width),
        dtype=dtype,
        tile=(side, side),
        resolution=tuple(10_000 / (size * 2**level) for size in facts.mpp),
        resolutionunit="CENTIMETER",
        software="wsi-her2",
        metadata=None,
        buffersize=ENCODE_BUFFER_BYTES,
        **(jpeg if is_rgb else deflate),
        **({"subfiletype": 1} if level else first),
    )


def _tiles(store: MapStore, level: int, side: int) -> Iterator[Pixels]:
    """Yield the tiles (side, side[, 3]) of `level` row by row; those at an edge repeat the image's last pixels."""
    size = store.size(level)
    for y in range(0, size.height, side):
        for x in range(0, size.width, RUN_PX):
            run = Box(x, y, min(RUN_PX, size.width - x), min(side, size.height - y))
            block = store.read_block(run, level)
            for left in range(0, run.width, side):
                yield _whole(block[:, left : left + side], side)


def _whole(tile: Pixels, side: int) -> Pixels:
    """Return `tile` (h, w[, 3]) extended to `side` px with its edge, which rings less in JPEG than black."""
    height, width = tile.shape[:2]
    padding = [(0, side - height), (0, side - width)] + [(0, 0)] * (tile.ndim - 2)
    return np.ascontiguousarray(np.pad(tile, padding, mode="edge"))


def _facts(store: MapStore) -> _Facts:
    """Return name and pixel size from the store's own OME-XML. Raises OutputError when there is none."""
    source = store.path / "OME" / "METADATA.ome.xml"
    try:
        image = ElementTree.parse(source).getroot().find(f"{{{SCHEMA}}}Image")  # noqa: S314 - our own XML
        pixels = image.find(f"{{{SCHEMA}}}Pixels") if image is not None else None
    except (OSError, ElementTree.ParseError) as error:
        raise OutputError(source, f"cannot be read: {error}", "write the map again") from error
    if image is None or pixels is None:
        raise OutputError(source, "describes no image", "write the map again")
    x, y = (float(pixels.attrib[f"PhysicalSize{axis}"]) for axis in "XY")
    return _Facts(image.attrib["Name"], Mpp(x, y))


def _pixel_bytes(store: MapStore) -> int:
    """Return the bytes of all levels' pixels."""
    return sum(prod(level.shape) * level.dtype.itemsize for level in store.levels)


def ome_xml(store: MapStore, facts: _Facts) -> str:
    """Return the OME-XML of the file: one image, one plane, in the unit that keeps the pyramid in Bio-Formats.

    Without a UUID, so that the same map gives the same bytes.
    """
    channels, height, width = store.levels[0].shape
    size = Size(width, height)
    name = "RGB" if channels == 3 else "Gray"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" Creator="wsi-her2"'
        f' xsi:schemaLocation="{SCHEMA} {SCHEMA}/ome.xsd">'
        f'<Image ID="Image:0" Name={quoteattr(facts.name)}>'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{OME_TYPES[str(store.levels[0].dtype)]}"'
        f' Interleaved="true" SizeX="{size.width}" SizeY="{size.height}" SizeC="{channels}" SizeZ="1" SizeT="1"'
        f' PhysicalSizeX="{facts.mpp.x!r}" PhysicalSizeXUnit="{MICROMETRE}"'
        f' PhysicalSizeY="{facts.mpp.y!r}" PhysicalSizeYUnit="{MICROMETRE}">'
        f'<Channel ID="Channel:0:0" Name="{name}" SamplesPerPixel="{channels}"/>'
        '<TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
