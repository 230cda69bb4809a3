"""A slide: checks, bounds, padding, level choice, resampling and damaged tiles, over any reader's one primitive."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from wsi_pipeline.errors import CorruptSlideError, UsageError
from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.slide.border import library_errors
from wsi_pipeline.slide.levels import pick_level
from wsi_pipeline.slide.model import WHITE, Level, LevelPixels, Pixels, Reader, SlideInfo, paste
from wsi_pipeline.slide.resample import Edges, area_mean, covering

SOURCE_PX = 2**24
"""Level px held at once while resampling, 4096 x 4096: bounds the memory for files of any size."""


class Slide:
    """An open slide. Safe to read from several threads; `close` may be called while reads run."""

    def __init__(self, info: SlideInfo, reader: Reader, open_reader: Callable[[], Reader]) -> None:
        """Serve `info`'s slide with `reader`; `open_reader` opens another one when that breaks."""
        self.info = info
        self._reader: Reader | None = reader
        self._open_reader = open_reader
        self._levels = reader.facts.levels
        self._swap = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; reads still running finish first, later ones raise UsageError."""
        self._reader = None

    @property
    def reader(self) -> Reader:
        """The reader that serves this slide now. Raises UsageError for a closed slide."""
        if self._reader is None:
            raise UsageError(self.info.path, "the slide is closed")
        return self._reader

    def overview(self, downsample: int) -> Pixels:
        """Return the whole slide at `downsample`, one px of the result per `downsample` level-0 px (rounded up)."""
        size = Size(*(ceil_div(side, downsample) for side in self.info.size_l0))
        return self.read_box(Box(0, 0, size.width * downsample, size.height * downsample), downsample)

    def read_box(self, box_l0: Box, downsample: int) -> Pixels:
        """Return (height / downsample, width / downsample) px of `box_l0`, area-averaged from the best level.

        The box's origin and size are multiples of `downsample`; it may hang over the slide's edges. Tiles that cannot
        be decoded are white, not valid and counted in `unreadable`: the caller decides how many are too many. At
        downsample 1 the pixels are the file's own. Raises UsageError for a box off the grid or a closed slide.
        """
        pixels, lost = self.read_parts(box_l0, downsample, [box_l0])
        valid = np.ones(pixels.rgb.shape[:2], bool) if pixels.valid is None else pixels.valid
        return Pixels(pixels.rgb, valid, lost)

    def read_parts(self, box_l0: Box, downsample: int, parts_l0: Sequence[Box]) -> tuple[LevelPixels, int]:
        """Return what `read_box` returns of a box, of which only the px in `parts_l0` are asked for.

        The others may be anything, and are not counted where they cannot be decoded. `parts_l0` lie on the grid of
        `downsample` too. The mask is None where every px is valid. Raises UsageError as `read_box`.
        """
        self._check(box_l0, downsample)
        box_ds, *wanted_ds = (Box(*(side // downsample for side in box)) for box in (box_l0, *parts_l0))
        level = pick_level(self._levels, downsample)
        pieces_ds = list(self._pieces(box_ds, level, downsample))
        if pieces_ds == [box_ds]:  # spares a copy, which costs as much as a fifth of decoding
            pixels, lost = self._read_piece(box_ds, wanted_ds, level, downsample)
            return pixels, math.ceil(lost)
        rgb = np.full((box_ds.height, box_ds.width, 3), WHITE, np.uint8)
        valid = np.zeros((box_ds.height, box_ds.width), bool)
        lost = 0.0
        for piece_ds in pieces_ds:
            inside_ds = [part for part in (each.intersection(piece_ds) for each in wanted_ds) if part.area]
            if inside_ds:
                pixels, lost_ds = self._read_piece(piece_ds, inside_ds, level, downsample)
                paste(rgb, valid, pixels, piece_ds.x - box_ds.x, piece_ds.y - box_ds.y)
                lost += lost_ds
        return LevelPixels(rgb, valid), math.ceil(lost)

    def _check(self, box_l0: Box, downsample: int) -> None:
        """Raise UsageError unless the box is a non-empty one on the grid of `downsample`."""
        if downsample < 1 or min(box_l0.size) < 1 or any(value % downsample for value in box_l0):
            raise UsageError(self.info.path, f"{tuple(box_l0)} is no box of multiples of the downsample {downsample}")

    def _pieces(self, box_ds: Box, level: int, downsample: int) -> Iterator[Box]:
        """Yield the pieces of the box that show the slide, each at most SOURCE_PX level px where one px allows it.

        A piece is as wide as a native strip, so that strips that span the slide are decoded once.
        """
        shown_ds = Box(0, 0, *(ceil_div(side, downsample) for side in self.info.size_l0)).intersection(box_ds)
        chosen = self._levels[level]
        width_lv = max(math.isqrt(SOURCE_PX), chosen.tile.width)
        step_x = max(int(width_lv * chosen.factor_x / downsample), 1)
        step_y = max(int(SOURCE_PX / width_lv * chosen.factor_y / downsample), 1)
        for y in range(shown_ds.y, shown_ds.bottom, step_y):
            for x in range(shown_ds.x, shown_ds.right, step_x):
                yield Box(x, y, min(step_x, shown_ds.right - x), min(step_y, shown_ds.bottom - y))

    def _read_piece(
        self, piece_ds: Box, wanted_ds: Sequence[Box], level: int, downsample: int
    ) -> tuple[LevelPixels, float]:
        """Return the resampled px of a box in downsampled px, and how many of those wanted could not be decoded."""
        chosen = self._levels[level]
        edges_x, edges_y = self._edges(piece_ds, level, downsample)
        window_lv = covering(edges_x, edges_y)
        wanted_lv = [covering(*self._edges(part_ds, level, downsample)) for part_ds in wanted_ds]
        pixels, lost_lv = self._read_window(level, window_lv, wanted_lv)
        area = chosen.factor_x * chosen.factor_y / downsample**2
        return area_mean(pixels, edges_x - window_lv.x, edges_y - window_lv.y), lost_lv * area

    def _edges(self, box_ds: Box, level: int, downsample: int) -> tuple[Edges, Edges]:
        """Return the borders of the px of a box in downsampled px, in level px: across and down."""
        chosen, (origin_x, origin_y) = self._levels[level], self.info.bounds_origin_l0
        # Divided last, so that borders which are whole level px come out whole however large the slide.
        edges_x = (origin_x + (box_ds.x + np.arange(box_ds.width + 1)) * downsample) / chosen.factor_x
        edges_y = (origin_y + (box_ds.y + np.arange(box_ds.height + 1)) * downsample) / chosen.factor_y
        return edges_x, edges_y

    def _read_window(self, level: int, window_lv: Box, wanted_lv: Sequence[Box]) -> tuple[LevelPixels, int]:
        """Return the px of a window that may hang over the shown frame, not valid there, and the count of lost ones."""
        inside_lv = window_lv.intersection(self._shown(self._levels[level]))
        if inside_lv == window_lv:
            return self._read_safely(level, window_lv, wanted_lv)
        rgb = np.full((window_lv.height, window_lv.width, 3), WHITE, np.uint8)
        valid = np.zeros((window_lv.height, window_lv.width), bool)
        if not inside_lv.area:
            return LevelPixels(rgb, valid), 0
        pixels, lost = self._read_safely(level, inside_lv, wanted_lv)
        paste(rgb, valid, pixels, inside_lv.x - window_lv.x, inside_lv.y - window_lv.y)
        return LevelPixels(rgb, valid), lost

    def _shown(self, level: Level) -> Box:
        """Return the shown frame in level px of the full frame, grown to whole px."""
        (x, y), (width, height) = self.info.bounds_origin_l0, self.info.size_l0
        left, top = math.floor(x / level.factor_x), math.floor(y / level.factor_y)
        right, bottom = math.ceil((x + width) / level.factor_x), math.ceil((y + height) / level.factor_y)
        return Box(left, top, right - left, bottom - top).intersection(Box(0, 0, *level.size))

    def _read_safely(self, level: int, box_lv: Box, wanted_lv: Sequence[Box]) -> tuple[LevelPixels, int]:
        """Return the px of a box inside the level and the count of those lost, mending what can be mended.

        A broken tile spoils an OpenSlide handle for all threads: replace it for them, and look for the damage with
        a handle of our own that may break without disturbing anybody.
        """
        reader = self._reader
        if reader is None:
            raise UsageError(self.info.path, "the slide is closed")
        try:
            return self._read(reader, level, box_lv, wanted_lv), 0
        except CorruptSlideError:
            with self._swap:
                if self._reader is reader:
                    self._reader = self._opened_again()
        return self._read_damaged(level, box_lv, wanted_lv)

    def _read_damaged(self, level: int, box_lv: Box, wanted_lv: Sequence[Box]) -> tuple[LevelPixels, int]:
        """Retry once with a fresh handle, then tile by tile: return what is left, and the count of px lost."""
        own = self._opened_again()
        try:
            return self._read(own, level, box_lv, wanted_lv), 0
        except CorruptSlideError:
            own = self._opened_again()
        rgb = np.full((box_lv.height, box_lv.width, 3), WHITE, np.uint8)
        valid = np.zeros((box_lv.height, box_lv.width), bool)
        lost = 0
        for block_lv in _blocks(box_lv, self._levels[level].tile):
            if not any(block_lv.intersection(part_lv).area for part_lv in wanted_lv):
                continue
            try:
                pixels = self._read(own, level, block_lv, [block_lv])
            except CorruptSlideError:
                own = self._opened_again()
                lost += block_lv.area
                continue
            paste(rgb, valid, pixels, block_lv.x - box_lv.x, block_lv.y - box_lv.y)
        return LevelPixels(rgb, valid), lost

    def _read(self, reader: Reader, level: int, box_lv: Box, wanted_lv: Sequence[Box]) -> LevelPixels:
        """Return the px of a box inside the level. Raises CorruptSlideError, whatever a library raises."""
        with library_errors(self.info.path, "cannot be decoded"):
            return reader.read_parts(level, box_lv, wanted_lv)

    def _opened_again(self) -> Reader:
        """Return another reader of the file. Raises CorruptSlideError, whatever a library raises."""
        with library_errors(self.info.path, "cannot be opened again"):
            return self._open_reader()


def _blocks(box_lv: Box, tile: Size) -> Iterator[Box]:
    """Yield the pieces of the box along the file's own tile borders, so that only broken tiles are lost."""
    for y in range(box_lv.y // tile.height * tile.height, box_lv.bottom, tile.height):
        for x in range(box_lv.x // tile.width * tile.width, box_lv.right, tile.width):
            yield Box(x, y, *tile).intersection(box_lv)
