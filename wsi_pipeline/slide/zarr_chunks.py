"""Chunks of the arrays in an OME-Zarr image, decoded one by one: nothing read twice, damage confined to its chunk.

Pixels do not come through the zarr library (3.1): it hands a truncated blosc chunk to a decoder that reads on behind it
and returns noise as if all were well, and after an error it leaves unfinished tasks that complain when Python ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.slide.border import BROKEN_REMEDY, library_errors
from wsi_pipeline.slide.model import WHITE, LevelPixels
from wsi_pipeline.slide.tiff_structure import SEGMENT_PX_MAX
from wsi_pipeline.slide.zarr_codecs import COMPRESSORS, decompress, make_codec

JSON_ERRORS = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What metadata of another form than NGFF and Zarr prescribe ends in; JSON's and UTF-8's own errors are ValueErrors."""

CHUNKS_MAX = 2**22
"""Most chunks of an array's plane: 500,000 x 500,000 px in chunks of 256. Each is a file that is looked for."""

READ_TIMES, READ_MORE = 2, 2**16
"""How many times the bytes of a chunk its file may have, and how many more bytes; what lies behind is not read."""

RGB_REMEDY, CHUNKS_REMEDY = "export it as 8-bit RGB", "write it again in chunks of 256 to 1024 px"


@dataclass(frozen=True)
class Storage:
    """How an array is stored: what `.zarray` (Zarr v2) and `zarr.json` (v3) both say."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    order: Literal["C", "F"]
    fill: int | None
    """Value of chunks that were never written; None: not stated."""
    prefix: str
    separator: str
    """A chunk's file is `prefix` and its coordinates joined by `separator`."""
    compressor: dict[str, Any] | None
    """Name and settings as numcodecs takes them; None: not compressed."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises TypeError or ValueError for anything else, OSError without the file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise TypeError(f"{path.name} holds no JSON object")
    return found


class ZarrPlane:
    """The RGB plane of one array of uint8: its chunks, decoded independently of each other and of who asks."""

    def __init__(self, slide: Path, folder: Path, axes: Sequence[str]) -> None:
        """Read the metadata of the array in `folder`, part of `slide`; `axes` names its dimensions.

        Raises CorruptSlideError, UnsupportedSlideError (not RGB of uint8, several planes, an unknown way to store it).
        """
        self._slide, self._folder, self._axes = slide, folder, tuple(axes)
        try:
            self._stored = _storage(slide, folder)
            self._codec = make_codec(self._stored.compressor)
            shape, chunks = (dict(zip(axes, part, strict=True)) for part in (self._stored.shape, self._stored.chunks))
        except (*JSON_ERRORS, OSError) as error:
            raise CorruptSlideError(slide, f"has no readable array {folder.name}: {error!r}", BROKEN_REMEDY) from error
        _check_rgb(slide, shape)
        self.size = Size(shape["x"], shape["y"])
        self.tile = Size(chunks["x"], chunks["y"])
        self._channels = chunks["c"]
        if min(self._stored.shape) < 1 or min(self._stored.chunks) < 1:
            raise CorruptSlideError(slide, f"has an array {folder.name} without pixels", BROKEN_REMEDY)
        if prod(self._stored.chunks) > SEGMENT_PX_MAX:
            problem = f"is stored in pieces of {self.tile.width} x {self.tile.height} px, too large to decode at once"
            raise UnsupportedSlideError(slide, problem, CHUNKS_REMEDY)
        if ceil_div(self.size.width, self.tile.width) * ceil_div(self.size.height, self.tile.height) > CHUNKS_MAX:
            problem = f"is stored in more than {CHUNKS_MAX:,} pieces of {self.tile.width} x {self.tile.height} px"
            raise UnsupportedSlideError(slide, problem, CHUNKS_REMEDY)

    def read(self, box: Box) -> LevelPixels:
        """Return the px of a box inside the array, each touched chunk decoded once.

        A chunk without a file holds the fill value. Where that is white (255) it is glass, which writers leave out;
        with any other fill, px without any file were never scanned: not valid, and white.
        Raises CorruptSlideError when a touched chunk cannot be decoded.
        """
        planes = np.full((3, box.height, box.width), WHITE, np.uint8)
        valid: NDArray[np.bool_] | None = None
        rows, columns = _touched(box.y, box.bottom, self.tile.height), _touched(box.x, box.right, self.tile.width)
        for row, column in product(rows, columns):
            tile = Box(column * self.tile.width, row * self.tile.height, *self.tile)
            common = tile.intersection(box)
            source, into = common.slices_in(tile), common.slices_in(box)
            blocks = [self._block(row, column, first) for first in range(ceil_div(3, self._channels))]
            if self._stored.fill != WHITE and all(block is None for block in blocks):
                valid = np.ones(planes.shape[1:], bool) if valid is None else valid
                valid[into] = False
                continue
            for channel, plane in enumerate(planes):
                block = blocks[channel // self._channels]
                fill = self._stored.fill or 0
                plane[into] = fill if block is None else block[channel % self._channels][source]
        return LevelPixels(cv2.merge(list(planes)).view(np.uint8), valid)

    def _block(self, row: int, column: int, channel: int) -> NDArray[np.uint8] | None:
        """Return a chunk as (channels, height, width), None when it has no file."""
        place = {"y": row, "x": column, "c": channel}
        coordinates = [str(place.get(axis, 0)) for axis in self._axes]
        name = self._stored.prefix + self._stored.separator.join(coordinates)
        with library_errors(self._slide, f"has a broken chunk {self._folder.name}/{name}"):
            try:
                data = self._stored_bytes(self._folder / name)
            except FileNotFoundError:
                return None
            decoded = decompress(self._codec, data, prod(self._stored.chunks))
            block = np.frombuffer(decoded, np.uint8).reshape(self._stored.chunks, order=self._stored.order)
        only = tuple(slice(None) if axis in place else 0 for axis in self._axes)
        kept = [axis for axis in self._axes if axis in place]
        return block[only].transpose([kept.index(axis) for axis in "cyx"])

    def _stored_bytes(self, file: Path) -> bytes:
        """Return what a chunk's file holds, as far as a chunk can be."""
        with file.open("rb") as opened:
            return opened.read(READ_TIMES * prod(self._stored.chunks) + READ_MORE)


def _storage(slide: Path, folder: Path) -> Storage:
    """Return how the array in `folder` is stored: by Zarr v2 where both are there, as QuPath reads it."""
    if (folder / ".zarray").exists():
        return _storage_v2(slide, read_json(folder / ".zarray"))
    if (folder / "zarr.json").exists():
        return _storage_v3(slide, read_json(folder / "zarr.json"))
    raise CorruptSlideError(slide, f"lacks the level {folder.name} that its metadata names", BROKEN_REMEDY)


def _storage_v2(slide: Path, found: dict[str, Any]) -> Storage:
    """Return what a `.zarray` says (Zarr v2 specification)."""
    _check_type(slide, np.dtype(found["dtype"]).name)
    if found.get("filters"):
        raise _unknown(slide, [part["id"] for part in found["filters"]])
    compressor = found.get("compressor")
    if compressor is not None and compressor["id"] not in COMPRESSORS:
        raise _unknown(slide, [compressor["id"]])
    if found["order"] not in {"C", "F"}:
        raise ValueError(f"order {found['order']!r}")
    return Storage(
        shape=_whole(found["shape"]),
        chunks=_whole(found["chunks"]),
        order=cast("Literal['C', 'F']", found["order"]),
        fill=_fill(found.get("fill_value")),
        prefix="",
        separator=found.get("dimension_separator", "."),
        compressor=compressor,
    )


def _storage_v3(slide: Path, found: dict[str, Any]) -> Storage:
    """Return what a `zarr.json` says (Zarr v3 specification), for plain bytes with at most one compressor."""
    _check_type(slide, found["data_type"])
    names = [part["name"] for part in found["codecs"]]
    if names[:1] != ["bytes"] or len(names) > 2 or not COMPRESSORS.issuperset(names[1:]):
        raise _unknown(slide, names)
    keys = found["chunk_key_encoding"]
    plain = keys["name"] == "v2"
    return Storage(
        shape=_whole(found["shape"]),
        chunks=_whole(found["chunk_grid"]["configuration"]["chunk_shape"]),
        order="C",
        fill=_fill(found["fill_value"]),
        prefix="" if plain else "c" + keys.get("configuration", {}).get("separator", "/"),
        separator=keys.get("configuration", {}).get("separator", "." if plain else "/"),
        compressor={"id": names[1]} if names[1:] else None,
    )


def _fill(value: Any) -> int | None:
    """Return the fill value, None where none that fits uint8 is stated."""
    return int(value) if value in range(256) else None


def _check_type(slide: Path, name: str) -> None:
    """Raise UnsupportedSlideError unless the array's type is uint8."""
    if name != "uint8":
        raise UnsupportedSlideError(slide, f"holds values of type {name}, not 8 bits per colour", RGB_REMEDY)


def _check_rgb(slide: Path, shape: dict[str, int]) -> None:
    """Raise UnsupportedSlideError unless an array of `shape`, px by axis, is one RGB plane."""
    planes = {axis: length for axis, length in shape.items() if axis not in {"c", "y", "x"}}
    if not {"c", "y", "x"} <= shape.keys() or not planes.keys() <= {"t", "z"}:
        raise UnsupportedSlideError(slide, f"has the axes {', '.join(shape)}, not channel, y and x", RGB_REMEDY)
    if shape["c"] != 3:
        problem = f"is not brightfield RGB: it has {shape['c']} channel(s), not red, green and blue"
        raise UnsupportedSlideError(slide, problem, "fluorescence and grey images have no DAB")
    if any(length != 1 for length in planes.values()):
        found = " and ".join(f"{length} along {axis}" for axis, length in planes.items())
        raise UnsupportedSlideError(slide, f"is not one plane but {found}", "export one RGB plane")


def _unknown(slide: Path, codecs: Sequence[str]) -> UnsupportedSlideError:
    """Return the error for arrays that are stored in a way that is not decoded here."""
    problem = f"is stored with {', '.join(codecs)}, which is not decoded here"
    return UnsupportedSlideError(slide, problem, "write it again as NGFF 0.4 with blosc or zlib")


def _whole(values: Sequence[Any]) -> tuple[int, ...]:
    """Return lengths. Raises ValueError unless they are whole numbers."""
    if not all(isinstance(value, int) for value in values):
        raise ValueError(f"{values} are no lengths")
    return tuple(values)


def _touched(start: int, stop: int, step: int) -> range:
    """Return the indices of the chunks of `step` px between two px along one axis."""
    return range(start // step, ceil_div(stop, step))
