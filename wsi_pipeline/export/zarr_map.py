"""Maps as OME-Zarr pyramids that QuPath opens: NGFF 0.4 on Zarr v2, blosc, one image a store, written without locks."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, refuse_zarr_parent, write_atomic
from wsi_pipeline.export.ngff import MapSpec, level_sizes, ngff_attributes, ome_xml
from wsi_pipeline.geometry import Box, Size, ceil_div, cut

Pixels = npt.NDArray[Any]
"""(H, W) for a gray map, (H, W, 3) for an RGB map; the store's dtype."""

PYRAMID_BLOCK_CHUNKS = 4
"""Side of the blocks in which levels are built, in chunks: 4 x 256 px read 2048 x 2048 px at a time, 12 MB of RGB."""


class MapStore:
    """One image store, opened by path; any number of processes may write different blocks of it at once."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`; use `create` for a new one."""
        self.path = path

    @classmethod
    def create(cls, path: Path, spec: MapSpec) -> MapStore:
        """Make an empty store with all its levels declared. Raises OutputError, ResourceError.

        `path` ends in `.zarr`, does not exist, and no folder above it has `.zarr` in its name.
        """
        if path.suffix != ".zarr":
            raise OutputError(path, "must end in .zarr in lower case", "QuPath opens nothing else as OME-Zarr")
        refuse_zarr_parent(path.absolute())
        if path.exists():
            raise OutputError(path, "exists already; viewers would show its old pixels", "write a new run")
        with plain_disk_errors(path):
            group = zarr.open_group(path, mode="w-", zarr_format=2)
            for level, size in enumerate(level_sizes(spec.size_map, spec.chunk)):
                group.create_array(
                    str(level),
                    shape=(spec.channel_count, size.height, size.width),
                    chunks=(1, spec.chunk, spec.chunk),
                    dtype=spec.dtype,
                    compressors=Blosc(
                        cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE
                    ),  # plain zstd does not open in QuPath
                    filters=None,
                    order="C",
                    fill_value=spec.fill,
                    chunk_key_encoding={"name": "v2", "separator": "/"},
                )
            _write_metadata(path, spec)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> MapStore:
        """Open an existing store for reading and writing. Raises OutputError."""
        if not (path / ".zgroup").is_file():
            raise OutputError(path, "is not an image store: it has no .zgroup")
        return cls(path)

    @cached_property
    def levels(self) -> list[zarr.Array[Any]]:
        """The arrays, (C, H, W), full size first."""
        group = zarr.open_group(self.path, mode="r+", zarr_format=2)
        datasets: Any = group.attrs["multiscales"]
        arrays = [group[entry["path"]] for entry in datasets[0]["datasets"]]
        return [array for array in arrays if isinstance(array, zarr.Array)]

    def size(self, level: int = 0) -> Size:
        """Return the size of `level`, px of that level."""
        _, height, width = self.levels[level].shape
        return Size(width, height)

    @property
    def chunk(self) -> int:
        """Side of a chunk, px."""
        return int(self.levels[0].chunks[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process as a path: open arrays stay here."""
        return {"path": self.path}

    def write_block(self, x_map: int, y_map: int, block: Pixels, level: int = 0) -> None:
        """Write `block` with its upper-left pixel at (x_map, y_map) of `level`; chunks that are all fill make no file.

        The block covers whole chunks, or ends at the map's edge, so that no two callers ever share a chunk.
        Raises OutputError for anything else, ResourceError when the disk is full.
        """
        array = self.levels[level]
        planes = np.moveaxis(block, -1, 0) if block.ndim == 3 else block[np.newaxis]
        channels, height, width = planes.shape
        box = Box(x_map, y_map, width, height)
        self._check_block(box, channels, planes.dtype, level)
        with plain_disk_errors(self.path):
            array[:, box.y : box.bottom, box.x : box.right] = np.ascontiguousarray(planes)

    def read_block(self, box: Box, level: int = 0) -> Pixels:
        """Return the pixels of `box` (px of `level`), (H, W) or (H, W, 3), cropped at the map's edge."""
        planes = np.asarray(self.levels[level][:, box.y : box.bottom, box.x : box.right])
        return np.moveaxis(planes, 0, -1) if planes.shape[0] > 1 else planes[0]

    def is_untouched(self, box: Box, level: int = 0) -> bool:
        """Tell whether no chunk of `box` (px of `level`, from a chunk's corner) was ever written, without reading any.

        A slide's maps are mostly such: glass.
        """
        folder, chunk = self.path / str(level), self.chunk
        rows = range(box.y // chunk, ceil_div(min(box.bottom, self.size(level).height), chunk))
        columns = range(box.x // chunk, ceil_div(min(box.right, self.size(level).width), chunk))
        channels = range(self.levels[level].shape[0])
        places = (folder / str(channel) / str(row) for channel in channels for row in rows)
        return not any((place / str(column)).exists() for place in places if place.exists() for column in columns)

    def write_levels(self, x_map: int, y_map: int, block: Pixels, levels: int) -> None:
        """Write `block` as `write_block` does, and its means of 2 x 2 px into as many of the next levels.

        The levels come from the pixels at hand, so that nothing is read back; see `levels_alone`.
        """
        for level in range(min(levels, len(self.levels))):
            self.write_block(x_map >> level, y_map >> level, block, level)
            block = halve_by_mean(block)

    def build_pyramid(self, reduction: Literal["mean", "mode"] = "mean", first: int = 1) -> None:
        """Fill levels `first` and up, block by block, from the level below.

        "mean" averages 2 x 2 px (heat, RGB); "mode" keeps the commonest of the four (class colours do not mix).
        Raises OutputError, ResourceError.
        """
        for level in range(first, len(self.levels)):
            for box in cut(self.size(level), self.chunk * PYRAMID_BLOCK_CHUNKS):
                if self.is_untouched(box.scaled(2), level - 1):
                    continue
                finer = self.read_block(box.scaled(2), level - 1)
                fill = int(self.levels[level].fill_value)
                if (finer == fill).all():
                    continue
                halved = halve_by_mean(finer) if reduction == "mean" else halve_by_mode(finer, fill)
                self.write_block(box.x, box.y, halved, level)

    def _check_block(self, box: Box, channels: int, dtype: np.dtype[Any], level: int) -> None:
        """Raise OutputError unless `box` is made of whole chunks of `level`, of the right kind."""
        array, size, chunk = self.levels[level], self.size(level), self.chunk
        if channels != array.shape[0] or dtype != array.dtype:
            raise OutputError(
                self.path, f"takes {array.shape[0]} channels of {array.dtype}, not {channels} of {dtype}"
            )  # fmt: skip
        for start, end, edge in ((box.x, box.right, size.width), (box.y, box.bottom, size.height)):
            if start < 0 or start % chunk or end > edge or (end % chunk and end != edge):
                raise OutputError(
                    self.path,
                    f"block {tuple(box)} is not made of whole {chunk} px chunks of {size.width} x {size.height} px",
                )


def levels_alone(side: int, chunk: int) -> int:
    """Return how many levels, full size included, consist of whole chunks within squares of `side` px."""
    levels = 0
    while side % chunk == 0 and side > 0:
        levels += 1
        if side % 2:
            break
        side //= 2
    return levels


def halve_by_mean(pixels: Pixels) -> Pixels:
    """Return pixels: (H, W[, C]) at half size, rounded up: the mean of each 2 x 2 px, or of those at an edge."""
    corners = _corners(pixels)
    if pixels.dtype.kind == "u":
        total = np.add.reduce(corners, dtype=np.uint16 if pixels.dtype == np.uint8 else np.uint32)
        return np.asarray((total + 2) >> 2).astype(pixels.dtype)
    return np.asarray(sum(corners) / np.float32(4)).astype(pixels.dtype)


def halve_by_mode(pixels: Pixels, fill: int) -> Pixels:
    """Return pixels: (H, W[, 3]) at half size, rounded up: the commonest of each 2 x 2 px.

    Of equals, the first in reading order that is not `fill`, so that thin tissue does not fade away.
    """
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        halved = halve_by_mode(red << 16 | green << 8 | blue, fill * 0x010101)
        return np.stack([halved >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(pixels.dtype)
    corners = _corners(pixels)
    votes = []
    for corner in corners:
        same = sum((corner == other).view(np.uint8) for other in corners)
        votes.append(same * np.uint8(2) + (corner != fill))
    most, winner = votes[0], corners[0]
    for corner, vote in zip(corners[1:], votes[1:], strict=True):
        winner = np.where(vote > most, corner, winner)
        most = np.maximum(vote, most)
    return winner


def _corners(pixels: Pixels) -> list[Pixels]:
    """Return the four pixels of each 2 x 2, as four half-size arrays; an odd last row or column is repeated."""
    height, width = pixels.shape[:2]
    padding = [(0, height % 2), (0, width % 2)] + [(0, 0)] * (pixels.ndim - 2)
    even = np.pad(pixels, padding, mode="edge")
    return [even[y::2, x::2] for y in (0, 1) for x in (0, 1)]


def _write_metadata(path: Path, spec: MapSpec) -> None:
    """Write the group's attributes and the OME folder with its XML."""
    write_atomic(path / ".zattrs", json.dumps(ngff_attributes(spec), indent=2, ensure_ascii=False).encode())
    ome = path / "OME"
    ome.mkdir()
    write_atomic(ome / ".zgroup", b'{\n  "zarr_format": 2\n}')
    write_atomic(ome / "METADATA.ome.xml", ome_xml(spec).encode())
