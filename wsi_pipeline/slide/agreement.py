"""OpenSlide as oracle: whether a few tiles, decoded directly when a slide is opened, show what it shows."""

from __future__ import annotations

import numpy as np

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.fast_reader import FastTiffReader
from wsi_pipeline.slide.model import LevelPixels
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles

GREY_TOLERANCE = 1
"""Grey levels by which our decoding may differ from OpenSlide's: the slack of JPEG 2000 implementations."""


def disagreement(fast: FastTiffReader, oracle: OpenSlideReader) -> str:
    """Return where and how far the tiles differ from what OpenSlide shows, nothing where they agree.

    Asked are the fullest, the first and the last tile of each level that both know. A broken tile spoils the oracle's
    handle, so it is opened again; what neither can decode is no difference.
    """
    for level, (page, found) in enumerate(zip(fast.pages, oracle.facts.levels, strict=False)):
        if page.size != found.size:
            return f"level {level} has {page.size} px, not {found.size}"
        for tile_lv in _probes(page, fast.patched[level]):
            if not oracle.is_exact(level, tile_lv):
                continue
            theirs = _read(oracle, level, tile_lv)
            if theirs is None:
                oracle = OpenSlideReader(oracle.path, oracle.facts)
            apart = _apart(_read(fast.tiles, level, tile_lv), theirs)
            if apart:
                return f"the tile at {tile_lv.x}, {tile_lv.y} of level {level} {apart}"
    return ""


def _probes(page: TiffPage, patched: frozenset[int]) -> list[Box]:
    """Return the fullest, the first and the last tile of the page, cropped at the level's edge, level px.

    Left out are those that OpenSlide does not read but patches together: whatever it shows there, it has drawn.
    """
    indices = {int(np.argmax(page.counts)), 0, page.columns * page.rows - 1} - patched
    return [page.box(index).intersection(Box(0, 0, *page.size)) for index in sorted(indices)]


def _read(source: TiffTiles | OpenSlideReader, level: int, tile_lv: Box) -> LevelPixels | None:
    """Return a tile, or None where it cannot be decoded."""
    try:
        return source.read(level, tile_lv) if isinstance(source, TiffTiles) else source.read_exactly(level, tile_lv)
    except CorruptSlideError:
        return None


def _apart(ours: LevelPixels | None, theirs: LevelPixels | None) -> str:
    """Return how two decodings of a tile differ beyond GREY_TOLERANCE, nothing where they do not."""
    if theirs is None:
        return ""
    if ours is None:
        return "cannot be decoded"
    most = int(np.abs(ours.rgb.astype(np.int16) - theirs.rgb).max())
    return f"differs by up to {most} grey levels" if most > GREY_TOLERANCE else ""
