"""The size that a compressed tile declares, read before a decoder believes it and asks for that much memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Size, ceil_div
from wsi_pipeline.slide.samples import SAMPLES_MAX

TIMES_MAX = 2
"""How many times the px of its place a tile may declare: the last strip of an image is often stored in full."""

SCANS_MAX = 500
"""Most scans of a progressive JPEG, each of which goes over all px again; encoders write 10, the standard allows 64 per
component and bit plane."""

STREAM_TILES_MAX = 4096
"""Most tiles inside one JPEG 2000 tile of the file, each of which costs the decoder kilobytes; encoders write one."""

JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers that begin a frame and state its size (ITU-T T.81, table B.1)."""

JPEG_SCAN, JPEG_ALONE = 0xDA, frozenset({0x01, *range(0xD0, 0xD9)})
"""Marker that begins entropy-coded data, and those without a length."""

J2K_SIZE = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream, and the marker that states its size (ISO 15444-1, A.4.1, A.5.1)."""

J2K_FIELDS = struct.Struct(">HH8IH")


def check_jpeg(data: bytes, tile: Size) -> None:
    """Raise ValueError where a JPEG stream declares more than its `tile` px can hold."""
    if data.count(b"\xff\xda") > SCANS_MAX:
        raise ValueError(f"it goes over its pixels more than {SCANS_MAX} times")
    at = 0
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 8:
        marker = data[at + 1]
        if marker == JPEG_SCAN:
            return
        if marker in JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            _check(Size(width, height), data[at + 9], tile)
        alone = marker in JPEG_ALONE or marker in {0x00, 0xFF}
        at += 1 if marker == 0xFF else 2 if alone else 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)


def check_jpeg2000(data: bytes, tile: Size) -> None:
    """Raise ValueError where a JPEG 2000 stream, in a JP2 file or bare, declares more than its `tile` px can hold."""
    at = data.find(J2K_SIZE)
    if at < 0 or len(data) < at + len(J2K_SIZE) + J2K_FIELDS.size:
        raise ValueError("it is no JPEG 2000 stream")
    _, _, right, bottom, left, top, across, down, _, _, samples = J2K_FIELDS.unpack_from(data, at + len(J2K_SIZE))
    size = Size(right - left, bottom - top)
    _check(size, samples, tile)
    if not across or not down or ceil_div(size.width, across) * ceil_div(size.height, down) > STREAM_TILES_MAX:
        raise ValueError(f"it is divided into pieces of {across} x {down} px")


def _check(size: Size, samples: int, tile: Size) -> None:
    """Raise ValueError unless a declared size fits its place."""
    if min(size) < 0 or size.width * size.height > TIMES_MAX * tile.width * tile.height or samples > SAMPLES_MAX:
        declared = f"{size.width} x {size.height} px of {samples} colours"
        raise ValueError(f"it declares {declared} in a place of {tile.width} x {tile.height} px")


def decode_into(
    decode: Callable[..., NDArray[np.uint8]], data: bytes, shapes: Iterable[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """Return the pixels of a stream that has one of the `shapes` (h, w, samples); nothing is decoded for another one.

    imagecodecs compares the size that PNG, WebP, JPEG XL, JPEG XR and LERC declare with the array that is to be filled.
    Raises what `decode` raises.
    """
    *others, last = shapes
    for shape in others:
        try:
            return decode(data, out=np.empty(shape, np.uint8))
        except ValueError:
            continue
    return decode(data, out=np.empty(last, np.uint8))
