"""The fast reader: tiled TIFFs whose native tiles are decoded directly, each once per region, on another's metadata."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, ceil_div
from wsi_pipeline.slide.model import FileFacts, LevelPixels, Reader, paste
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles

DRAWN_AROUND = 2
"""Px around a patched tile that OpenSlide may take into account, level px: one of its own and one of interpolation."""

FEW_HOLES, FEW_HOLES_SHARE = 16, 0.01
"""Tiles of level 0, and share of them, that may be missing before a slide counts as sparse."""


class FastTiffReader(Reader):
    """Levels of native tiles: JPEG by libjpeg-turbo, JPEG 2000 by OpenJPEG, others as tifffile knows them.

    OpenSlide decodes a tile as often as it is asked for; this reader decodes it once per region. Where OpenSlide opens
    the file too, it draws what only it can: tiles that it patches together from the finer level (see `patched_tiles`);
    and it has the last word on what is broken. ICC profiles are not applied.
    """

    def __init__(self, path: Path, facts: FileFacts, pages: Sequence[TiffPage], threads: int = 1) -> None:
        """Read `pages`, one for each level of `facts`, which another reader found; both may be shared.

        `threads` decode the tiles of a region at once: 1 where the caller reads from several threads or processes.
        """
        self.pages, self.threads = pages, threads
        self.path = path
        self._openslide: OpenSlideReader | None = None
        self._drawing = threading.Lock()
        self.facts = replace(facts, reader="fast")
        self._patches = facts.openslide and facts.vendor == "aperio"
        self._drawable = [frozenset[int]()] * len(pages)
        holes = None
        if self._patches and not is_sparse(pages[0]):
            holes = self.patched
            self._drawable = drawable_tiles(pages, holes)
        self.tiles = TiffTiles(path, pages, threads, holes)

    def without_openslide(self, *warnings: str) -> FastTiffReader:
        """Return a reader of the same file for which OpenSlide draws nothing."""
        facts = replace(self.facts, openslide=False, warnings=(*self.facts.warnings, *warnings))
        return FastTiffReader(self.path, facts, self.pages, self.threads)

    @cached_property
    def patched(self) -> list[frozenset[int]]:
        """The tiles of each level that OpenSlide does not read, whatever it shows there."""
        return patched_tiles(self.pages) if self._patches else [page.holes for page in self.pages]

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if hasattr(self, "tiles"):
            self.tiles.close()

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box inside the level; see Reader.read_level."""
        return self.read_parts(level, box_lv, [box_lv])

    def read_parts(self, level: int, box_lv: Box, parts_lv: Sequence[Box]) -> LevelPixels:
        """Return the px of a box of which only parts are asked for, and only their tiles decoded."""
        try:
            pixels = self.tiles.read(level, box_lv, parts_lv)
        except CorruptSlideError:
            if self.facts.openslide and len(list(self.pages[level].touched(box_lv))) == 1:
                return self._drawn(level, box_lv)
            raise
        if pixels.valid is not None and self._drawable[level]:
            for index in self._drawable[level].intersection(self.pages[level].touched_by(parts_lv, box_lv)):
                part_lv = self.pages[level].box(index).intersection(box_lv)
                drawn = self._drawn(level, part_lv)
                paste(pixels.rgb, pixels.valid, drawn, part_lv.x - box_lv.x, part_lv.y - box_lv.y)
        return pixels

    def _drawn(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the px of a box as OpenSlide draws them. Raises CorruptSlideError where it cannot either."""
        with self._drawing:
            self._openslide = self._openslide or OpenSlideReader(self.path, self.facts)
            try:
                return self._openslide.read_exactly(level, box_lv)
            except CorruptSlideError:  # which spoils the handle
                self._openslide = None
                raise


def patched_tiles(pages: Sequence[TiffPage]) -> list[frozenset[int]]:
    """Return the tiles of each level that OpenSlide does not read in Aperio slides, but draws from the finer level.

    They are those never written, and those of coarser levels that would hold them, since such tiles "are sometimes
    corrupt" (openslide-vendor-aperio.c, whose arithmetic this is). In level 0 there is nothing to draw them from.
    """
    patched = [pages[0].holes]
    for finer, page in pairwise(pages):
        step_x = max(int(finer.columns / page.columns + 0.5), 1)
        step_y = max(int(finer.rows / page.rows + 0.5), 1)
        places = (divmod(index, finer.columns) for index in patched[-1])
        above = {row // step_y * page.columns + column // step_x for row, column in places}
        patched.append(page.holes | above)
    return patched


def is_sparse(page: TiffPage) -> bool:
    """Return whether so much of level 0 was never written that the scanner meant it, not an error of its encoder.

    Then coarser tiles are sound, and shown as they are stored: patching them takes OpenSlide up to a second each.
    """
    return len(page.holes) > max(FEW_HOLES, FEW_HOLES_SHARE * len(page.counts))


def drawable_tiles(pages: Sequence[TiffPage], patched: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Return the patched tiles of each level for which the finer level holds anything to draw them from.

    The others show nothing, which need not be drawn: in sparse slides they are nearly all.
    """
    drawable = [frozenset[int]()]
    for finer, page, holes, above in zip(pages, pages[1:], patched, patched[1:], strict=False):
        shown = np.ones((finer.rows, finer.columns), np.int64)
        shown.flat[list(holes - drawable[-1])] = 0
        sums = np.pad(shown.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))  # of all tiles above and to the left
        found = set()
        for index in above:
            left, top, right, bottom = _reach(page, finer, index)
            if sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]:
                found.add(index)
        drawable.append(frozenset(found))
    return drawable


def _reach(page: TiffPage, finer: TiffPage, index: int) -> tuple[int, int, int, int]:
    """Return the first and last (exclusive) column and row of the finer level's tiles that a tile may be drawn from."""
    tile_lv = page.box(index).padded(DRAWN_AROUND)
    scale_x, scale_y = finer.size.width / page.size.width, finer.size.height / page.size.height
    left, top = int(tile_lv.x * scale_x) // finer.tile.width, int(tile_lv.y * scale_y) // finer.tile.height
    right = ceil_div(math.ceil(tile_lv.right * scale_x), finer.tile.width)
    bottom = ceil_div(math.ceil(tile_lv.bottom * scale_y), finer.tile.height)
    return max(left, 0), max(top, 0), min(right, finer.columns), min(bottom, finer.rows)
