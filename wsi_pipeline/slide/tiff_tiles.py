"""Tiles and strips of TIFF pages, read and decoded: none twice, no pixel interpolated, damage confined to its tile."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.model import WHITE, LevelPixels, split_alpha
from wsi_pipeline.slide.tiff_page import TiffPage

HAS_PREAD = hasattr(os, "pread")
"""Whether the system reads at a place without moving there first, which threads can do at once; Windows does not."""

SEGMENT_PX_KEPT = 2**18
"""Segments of at least this many px are kept for the next read, since it is likely to need the same one."""


class TiffTiles:
    """The levels of an open TIFF, level 0 first; `threads` decode the tiles of one read."""

    def __init__(
        self,
        path: Path,
        pages: Sequence[TiffPage],
        threads: int = 1,
        holes: Sequence[frozenset[int]] | None = None,
    ) -> None:
        """Open the file. `holes` names the tiles of each level that are not to be shown, None those never written."""
        self._pages = pages
        self._threads = threads
        self._holes = [page.holes for page in pages] if holes is None else holes
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()
        self._kept: tuple[tuple[int, int], NDArray[np.uint8]] | None = None

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def read(self, level: int, box_lv: Box, parts_lv: Sequence[Box] | None = None) -> LevelPixels:
        """Return the px of a box inside the level, each touched tile decoded once.

        With `parts_lv` only tiles that these parts of the box touch; other px may then be anything. Holes are white
        and not valid. Raises CorruptSlideError when a touched tile cannot be decoded.
        """
        page, holes = self._pages[level], self._holes[level]
        mapped = page.mapped(box_lv)
        if mapped is not None:
            return _as_pixels(mapped, page)
        out = np.empty((box_lv.height, box_lv.width, page.samples), np.uint8)

        def fill(index: int) -> None:
            common_lv = page.box(index).intersection(box_lv)
            out[_window(common_lv, box_lv)] = self._decoded(level, index)[_window(common_lv, page.box(index))]

        wanted = page.touched_by([box_lv] if parts_lv is None else parts_lv, box_lv)
        written = [index for index in wanted if index not in holes]
        if self._threads > 1 and len(written) > 1:
            list(_pool(self._threads).map(fill, written))
        else:
            for index in written:
                fill(index)
        if len(written) == len(wanted):
            return _as_pixels(out, page)
        valid = np.ones(out.shape[:2], bool)
        for index in holes.intersection(wanted):
            window = _window(page.box(index).intersection(box_lv), box_lv)
            out[window], valid[window] = WHITE, False
        return _as_pixels(out, page, valid)

    def _decoded(self, level: int, index: int) -> NDArray[np.uint8]:
        """Return the (h, w, samples) px of one tile or strip."""
        page, kept = self._pages[level], self._kept
        if kept is not None and kept[0] == (level, index):
            return kept[1]
        pixels = page.decode(self.data(level, index), index)
        if pixels.shape[0] * pixels.shape[1] >= SEGMENT_PX_KEPT:
            self._kept = (level, index), pixels
        return pixels

    def data(self, level: int, index: int) -> list[bytes]:
        """Return the bytes of one tile or strip, piece by piece."""
        return [self._bytes(offset, count) for offset, count in self._pages[level].pieces(index)]

    def _bytes(self, offset: int, count: int) -> bytes:
        """Return `count` bytes of the file, fewer at its end."""
        if HAS_PREAD:
            return os.pread(self._descriptor, count, offset)
        with self._lock:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, count)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the process's pool of that many decoding threads; decoders let go of the interpreter lock."""
    return ThreadPoolExecutor(threads, thread_name_prefix="decode")


def _window(common: Box, frame: Box) -> tuple[slice, slice]:
    """Return the (row, column) slices of `common` in an array that covers `frame`."""
    x, y = common.x - frame.x, common.y - frame.y
    return slice(y, y + common.height), slice(x, x + common.width)


def _as_pixels(pixels: NDArray[np.uint8], page: TiffPage, valid: NDArray[np.bool_] | None = None) -> LevelPixels:
    """Return (h, w, 3 or 4) px as RGB with the mask of what was written and not transparent."""
    if pixels.shape[2] == 3:
        return LevelPixels(pixels, valid)
    rgb, opaque = split_alpha(pixels, is_premultiplied=page.is_premultiplied)
    if valid is None or opaque is None:
        return LevelPixels(rgb, opaque if valid is None else valid)
    return LevelPixels(rgb, valid & opaque)
