"""Maps as OME-Zarr pyramids that QuPath opens: NGFF 0.4 on Zarr v2, blosc, one image a store, written without locks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, refuse_zarr_parent, write_atomic
from wsi_pipeline.export.ngff import MapSpec, level_sizes, ngff_attributes, ome_xml
from wsi_pipeline.export.zarr_level import MapLevel
from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div, cut

Pixels = npt.NDArray[Any]
"""(H, W) for a gray map, (H, W, 3) for an RGB map; the store's dtype."""

ZARR_GROUP = '{\n  "zarr_format": 2\n}'
"""Content of a `.zgroup` (Zarr v2 specification)."""

PYRAMID_BLOCK_CHUNKS = 2
"""Side of the blocks in which levels are built, in chunks: 2 x 256 px read 1024 x 1024 px at a time, 3 MB of RGB."""

Reduction = Literal["mean", "mode"]
"""How 2 x 2 px become one; see MapStore.build_levels."""


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
            path.mkdir()
            (path / ".zgroup").write_text(ZARR_GROUP, encoding="utf-8")
            for level, size in enumerate(level_sizes(spec.size_map, spec.chunk)):
                shape = (spec.channel_count, size.height, size.width)
                MapLevel.declare(path / str(level), shape, spec.chunk, spec.dtype, spec.fill)
            _write_metadata(path, spec)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> MapStore:
        """Open an existing store for reading and writing. Raises OutputError."""
        if not (path / ".zgroup").is_file():
            raise OutputError(path, "is not an image store: it has no .zgroup")
        return cls(path)

    @cached_property
    def _datasets(self) -> list[dict[str, Any]]:
        """What the attributes say of each level, full size first."""
        attributes = json.loads((self.path / ".zattrs").read_text(encoding="utf-8"))
        datasets: list[dict[str, Any]] = attributes["multiscales"][0]["datasets"]
        return datasets

    @cached_property
    def levels(self) -> list[MapLevel]:
        """The arrays, (C, H, W), full size first. Raises OutputError."""
        return [MapLevel(self.path / entry["path"]) for entry in self._datasets]

    @property
    def mpp_map(self) -> Mpp:
        """Size of a full-resolution pixel, um."""
        _, y, x = self._datasets[0]["coordinateTransformations"][0]["scale"]
        return Mpp(x, y)

    def size(self, level: int = 0) -> Size:
        """Return the size of `level`, px of that level."""
        return self.levels[level].size

    @property
    def chunk(self) -> int:
        """Side of a chunk, px."""
        return self.levels[0].chunk

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process as a path: open arrays stay here."""
        return {"path": self.path}

    def write_block(self, x_map: int, y_map: int, block: Pixels, level: int = 0) -> None:
        """Write `block` with its upper-left pixel at (x_map, y_map) of `level`; chunks that are all fill make no file.

        The block covers whole chunks, or ends at the map's edge, so that no two callers ever share a chunk.
        Raises OutputError for anything else, ResourceError when the disk is full.
        """
        planes = np.moveaxis(block, -1, 0) if block.ndim == 3 else block[np.newaxis]
        channels, height, width = planes.shape
        box = Box(x_map, y_map, width, height)
        self._check_block(box, channels, planes.dtype, level)
        with plain_disk_errors(self.path):
            self.levels[level].write(box, planes)

    def read_block(self, box: Box, level: int = 0) -> Pixels:
        """Return the pixels of `box` (px of `level`), (H, W) or (H, W, 3), cropped at the map's edge."""
        planes = self.levels[level].read(box)
        return np.moveaxis(planes, 0, -1) if planes.shape[0] > 1 else planes[0]

    def is_untouched(self, box: Box, level: int = 0) -> bool:
        """Tell whether no chunk of `box` (px of `level`, from a chunk's corner) was ever written, without reading any.

        A slide's maps are mostly such: glass.
        """
        return self.levels[level].is_untouched(box)

    def write_levels(self, x_map: int, y_map: int, block: Pixels, levels: int) -> None:
        """Write `block` as `write_block` does, and its means of 2 x 2 px into as many of the next levels.

        The levels come from the pixels at hand, so that nothing is read back; see `levels_alone`.
        """
        for level in range(min(levels, len(self.levels))):
            self.write_block(x_map >> level, y_map >> level, block, level)
            block = halve_by_mean(block)

    def build_pyramid(self, reduction: Reduction = "mean", first: int = 1) -> None:
        """Fill levels `first` and up of the whole map; see `build_levels`."""
        self.build_levels(reduction, range(first, len(self.levels)), Box(0, 0, *self.size()))

    def build_levels(self, reduction: Reduction, levels: range, box_map: Box) -> None:
        """Fill these levels of `box_map` (px of full size, whole chunks of all of them), each from the level below.

        "mean" averages 2 x 2 px (heat, RGB); "mode" keeps the commonest of the four (class colours do not mix).
        Levels that the map does not have are passed over. Raises OutputError, ResourceError.
        """
        for level in levels:
            for box in self.blocks(level, box_map):
                if self.is_untouched(box.scaled(2), level - 1):
                    continue
                finer = self.read_block(box.scaled(2), level - 1)
                fill = self.levels[level].fill
                if (finer == fill).all():
                    continue
                halved = halve_by_mean(finer) if reduction == "mean" else halve_by_mode(finer, fill)
                self.write_block(box.x, box.y, halved, level)

    def blocks(self, level: int, box_map: Box) -> Iterator[Box]:
        """Yield boxes of whole chunks, px of `level`, that cover `box_map` (px of full size) there, none too large."""
        if level >= len(self.levels):
            return
        left, top = box_map.x >> level, box_map.y >> level
        width, height = (ceil_div(side, 1 << level) for side in box_map.size)
        inside = Box(left, top, width, height).intersection(Box(0, 0, *self.size(level)))
        for box in cut(inside.size, self.chunk * PYRAMID_BLOCK_CHUNKS):
            yield Box(left + box.x, top + box.y, box.width, box.height)

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
    halved = corners[0].copy()
    mixed = np.logical_or.reduce([corner != halved for corner in corners[1:]])  # most areas of a class map are not
    halved[mixed] = _winners([corner[mixed] for corner in corners], fill)
    return halved


def _winners(corners: list[Pixels], fill: int) -> Pixels:
    """Return the commonest of the four values (N,) of each of N pixels; of equals, the first that is not `fill`."""
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
    write_atomic(ome / ".zgroup", ZARR_GROUP.encode())
    write_atomic(ome / "METADATA.ome.xml", ome_xml(spec).encode())
