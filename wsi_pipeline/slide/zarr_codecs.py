"""Chunks of Zarr arrays decompressed into the bytes that their array says, and never into more."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from typing import Any

import imagecodecs

COMPRESSORS = frozenset({"blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma"})
"""Compressors that are decoded, by the name that Zarr v2, v3 and numcodecs share. Others are refused, since numcodecs
also knows pickle, which runs what a file says."""

BLOSC_SIZES = struct.Struct("<4xI4xI")
"""Sizes in the header of a blosc chunk: bytes once decoded, and bytes of the chunk itself (c-blosc README_CHUNK)."""

LZ4_SIZE = struct.Struct("<I")
"""What numcodecs writes before an lz4 block: bytes once decoded."""

GZIP = 31
"""Window bits by which zlib expects the header of gzip."""

LZMA_BYTES = 2**28
"""Memory that the window of an lzma stream may take; the strongest preset of xz takes 65 MB."""


def make_codec(compressor: dict[str, Any] | None) -> Any:
    """Return numcodecs' codec of that name and settings, None for chunks that are not compressed."""
    if compressor is None:
        return None
    import numcodecs  # noqa: PLC0415 - most slides do not need it

    return numcodecs.get_codec(dict(compressor))


def decompress(codec: Any, data: bytes, size: int) -> bytes:
    """Return the `size` bytes of a chunk; what would become more is not decoded further.

    Raises ValueError, or what the decoder raises, where the data does not become `size` bytes.
    """
    decoded = data if codec is None else _decompress(codec, data, size)
    if len(decoded) != size:
        more = "more" if len(decoded) > size else f"{len(decoded)}"
        raise ValueError(f"it becomes {more} bytes, not the {size} of a chunk")
    return decoded


def _decompress(codec: Any, data: bytes, size: int) -> bytes:
    """Return what a chunk becomes, at most a byte more than `size`."""
    name = codec.codec_id
    if name in {"zlib", "gzip"}:
        return zlib.decompressobj(GZIP if name == "gzip" else zlib.MAX_WBITS).decompress(data, size + 1)
    if name == "bz2":
        return bz2.BZ2Decompressor().decompress(data, size + 1)
    if name == "lzma":
        if codec.format == lzma.FORMAT_RAW:
            raise ValueError("it is a raw lzma stream, which does not say how much memory it takes")
        return lzma.LZMADecompressor(lzma.FORMAT_AUTO, LZMA_BYTES).decompress(data, size + 1)
    if name == "zstd":
        return bytes(imagecodecs.zstd_decode(data, out=size))
    return _by_declared_size(codec, data, size)


def _by_declared_size(codec: Any, data: bytes, size: int) -> bytes:
    """Return what a blosc or lz4 chunk becomes, whose decoder believes the size that it begins with."""
    if codec.codec_id == "blosc":
        declared, stored = BLOSC_SIZES.unpack_from(data)
        if stored > len(data):
            raise ValueError(f"{len(data)} bytes are not the blosc chunk of {stored} that they begin as")
    else:
        (declared,) = LZ4_SIZE.unpack_from(data)
    if declared != size:
        raise ValueError(f"it declares {declared} bytes, not the {size} of a chunk")
    return bytes(codec.decode(data))
