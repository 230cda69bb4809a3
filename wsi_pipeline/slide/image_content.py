"""Whether a plain image holds the pixels that its header states, looked at before all that memory is asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.border import BROKEN_REMEDY

LARGE_PX = 2**24
"""Px from which it is looked at, 64 MB once decoded."""

JPEG_PX_PER_BYTE = 512
"""Most px that a byte of JPEG can stand for: 16 x 16 white px take 6 bits at the least."""

PNG_TIMES = 8
"""How many times its bytes a PNG may become without anybody looking: pictures of tissue become twice as many."""

BLOCK_BYTES = 2**20


def check_content(path: Path, size: Size, colours: int, *, is_png: bool) -> None:
    """Raise CorruptSlideError where an image of `size` px and so many colours of 8 bits cannot be in the file."""
    wanted, stored = size.width * size.height, path.stat().st_size
    if wanted <= LARGE_PX:
        return
    if is_png:
        is_held = wanted * colours <= PNG_TIMES * stored or _becomes(path, wanted * colours)
    else:
        is_held = wanted <= JPEG_PX_PER_BYTE * stored
    if not is_held:
        problem = f"states {size.width} x {size.height} px, more than it holds"
        raise CorruptSlideError(path, problem, BROKEN_REMEDY)


def _becomes(path: Path, wanted: int) -> bool:
    """Return whether a PNG's data inflates to at least so many bytes, of which a block at a time is held."""
    inflater, found = zlib.decompressobj(), 0
    try:
        for data in _image_data(path):
            left = data
            while left and not inflater.eof:
                found += len(inflater.decompress(left, BLOCK_BYTES))
                if found >= wanted:
                    return True
                left = inflater.unconsumed_tail
    except zlib.error:
        return False
    return found >= wanted


def _image_data(path: Path) -> Iterator[bytes]:
    """Yield the data of a PNG's IDAT chunks in blocks (PNG specification, 5.3: length, type, data, sum)."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            left, kind = struct.unpack(">I4s", head)
            if kind != b"IDAT":
                file.seek(left + 4, 1)
                continue
            while left and (data := file.read(min(left, BLOCK_BYTES))):
                left -= len(data)
                yield data
            file.seek(4, 1)
