"""Tiles and strips of a TIFF, decoded one by one: no tile twice, no pixel interpolated, damage confined to its tile."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.slide.model import WHITE, LevelPixels, split_alpha
from wsi_pipeline.slide.tiff_header import BROKEN_REMEDY, TIFF_ERRORS

SEGMENT_PX_MAX = 2**26
"""Largest tile or strip that is decoded at once, px: 8192 x 8192, 192 MiB of RGB."""

SEGMENT_PX_KEPT = 2**18
"""Segments of at least this many px are kept for the next read, since it is likely to need the same one."""

JPEG_END, JPEG_END_WITHIN = b"\xff\xd9", 16
"""End-of-image marker, which entropy-coded data cannot contain, and in how many last bytes of a tile it has to be."""

VIRTUAL_TILE = Size(256, 256)
"""Unit of reading in uncompressed contiguous files, which are mapped into memory instead of decoded."""


class TiffTiles:
    """The tiles or strips of some pages, decoded independently of each other and of the thread that asks."""

    def __init__(self, path: Path, pages: Sequence[Any]) -> None:
        """Take over what decoding needs from tifffile pages, level 0 first; the TiffFile may be closed afterwards.

        Raises UnsupportedSlideError for a compression that cannot be decoded or tiles too large to hold.
        """
        self._path = path
        self._pages = [_PageTiles(path, page) for page in pages]
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        self._kept: tuple[tuple[int, int], NDArray[np.uint8]] | None = None

    @property
    def tiles(self) -> list[Size]:
        """Unit of decoding of each level, px."""
        return [page.tile for page in self._pages]

    @property
    def has_gaps(self) -> list[bool]:
        """Whether tiles of each level were never written."""
        return [0 in page.counts for page in self._pages]

    def densest(self, level: int) -> Box:
        """Return the tile of the level that takes most bytes, level px: the one with most to see."""
        page = self._pages[level]
        index = 0 if page.mapped is not None else int(np.argmax(page.counts))
        row, column = divmod(index, page.columns)
        tile_lv = Box(column * page.tile.width, row * page.tile.height, *page.tile)
        return tile_lv.intersection(Box(0, 0, *page.size))

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level, each touched tile decoded once; tiles never written are not valid.

        Raises CorruptSlideError when a touched tile cannot be decoded.
        """
        page = self._pages[level]
        if page.mapped is not None:
            return _as_pixels(np.array(page.mapped[box_lv.y : box_lv.bottom, box_lv.x : box_lv.right]))
        out = np.full((box_lv.height, box_lv.width, page.samples), WHITE, np.uint8)
        valid: NDArray[np.bool_] | None = None
        for row in range(box_lv.y // page.tile.height, ceil_div(box_lv.bottom, page.tile.height)):
            for column in range(box_lv.x // page.tile.width, ceil_div(box_lv.right, page.tile.width)):
                tile_lv = Box(column * page.tile.width, row * page.tile.height, *page.tile)
                common = tile_lv.intersection(box_lv)
                into = _window(common, box_lv)
                pixels = self._decode(level, row * page.columns + column)
                if pixels is not None:
                    out[into] = pixels[_window(common, tile_lv)]
                    continue
                valid = np.ones(out.shape[:2], bool) if valid is None else valid
                valid[into] = False
        return _as_pixels(out, valid)

    def _decode(self, level: int, index: int) -> NDArray[np.uint8] | None:
        """Return the (h, w, samples) px of one tile or strip, None when it was never written."""
        page, kept = self._pages[level], self._kept
        if kept is not None and kept[0] == (level, index):
            return kept[1]
        if not page.counts[index]:
            return None
        with self._lock:
            os.lseek(self._descriptor, page.offsets[index], os.SEEK_SET)
            data = os.read(self._descriptor, page.counts[index])
        pixels = page.decode(data, index)
        if pixels.shape[0] * pixels.shape[1] >= SEGMENT_PX_KEPT:
            self._kept = (level, index), pixels
        return pixels


class _PageTiles:
    """What decoding the tiles of one page needs, read from the file once."""

    def __init__(self, path: Path, page: Any) -> None:
        """Copy it from a tifffile page."""
        self._path = path
        self.size = Size(page.imagewidth, page.imagelength)
        self.samples = int(page.samplesperpixel)
        self.offsets, self.counts = tuple(page.dataoffsets), tuple(page.databytecounts)
        self.mapped: NDArray[np.uint8] | None = None
        if page.is_tiled:
            self.tile = Size(page.tilewidth, page.tilelength)
        elif page.is_memmappable:
            self.tile = VIRTUAL_TILE
            shape = (*self.size[::-1], self.samples)
            self.mapped = np.memmap(path, np.uint8, "r", self.offsets[0], shape)
        else:
            self.tile = Size(page.imagewidth, min(page.rowsperstrip, page.imagelength))
        if self.tile.width * self.tile.height > SEGMENT_PX_MAX:
            problem = f"is stored in pieces of {self.tile.width} x {self.tile.height} px, too large to decode at once"
            raise UnsupportedSlideError(path, problem, "convert it to a tiled pyramidal TIFF, for example with vips")
        self.columns = ceil_div(self.size.width, self.tile.width)
        self._decode = page.decode
        self._is_jpeg = page.compression in {COMPRESSION.JPEG, COMPRESSION.OJPEG}
        self._options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if self._is_jpeg else {}

    def decode(self, data: bytes, index: int) -> NDArray[np.uint8]:
        """Return the (h, w, samples) px of one tile, cropped at the level's edge.

        Raises CorruptSlideError for damaged or short data.
        """
        x, y = index % self.columns * self.tile.width, index // self.columns * self.tile.height
        if len(data) < self.counts[index]:
            raise CorruptSlideError(self._path, f"ends within the tile at {x}, {y}", BROKEN_REMEDY)
        # The decoder fills up streams that end early without a word; OpenSlide calls them broken, and so do we.
        if self._is_jpeg and len(data) - data.find(JPEG_END) > JPEG_END_WITHIN:
            raise CorruptSlideError(self._path, f"has a JPEG tile that ends early at {x}, {y}", BROKEN_REMEDY)
        try:
            pixels = self._decode(data, index, **self._options)[0]
        except TIFF_ERRORS as error:
            raise CorruptSlideError(self._path, f"has a broken tile at {x}, {y}: {error}", BROKEN_REMEDY) from error
        least = (min(self.tile.height, self.size.height - y), min(self.tile.width, self.size.width - x), self.samples)
        if pixels is None or any(have < want for have, want in zip(pixels.shape[1:], least, strict=True)):
            raise CorruptSlideError(self._path, f"has a tile of the wrong size at {x}, {y}", BROKEN_REMEDY)
        decoded: NDArray[np.uint8] = pixels[0]
        return decoded


def _window(common: Box, frame: Box) -> tuple[slice, slice]:
    """Return the (row, column) slices of `common` in an array that covers `frame`."""
    x, y = common.x - frame.x, common.y - frame.y
    return slice(y, y + common.height), slice(x, x + common.width)


def _as_pixels(pixels: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None) -> LevelPixels:
    """Return (h, w, 3 or 4) px as RGB with the mask of what was written and not transparent."""
    if pixels.shape[2] == 3:
        return LevelPixels(pixels, valid)
    rgb, opaque = split_alpha(pixels)
    if valid is None or opaque is None:
        return LevelPixels(rgb, opaque if valid is None else valid)
    return LevelPixels(rgb, valid & opaque)
