"""Whether OpenSlide and the fast reader show the same, and which of the two follows the TIFF standard where not."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide.border import library_errors
from wsi_pipeline.slide.fast_reader import FastTiffReader
from wsi_pipeline.slide.model import LevelPixels, Reader
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles

GREY_TOLERANCE = 1
"""Grey levels by which two decodings may differ: the slack of JPEG 2000 implementations."""


class Disagreement(NamedTuple):
    """That the two show different pictures."""

    words: str
    """Where and how far."""
    is_ours_standard: bool
    """Whether tifffile decodes what the fast reader shows."""


def settle(fast: FastTiffReader, oracle: OpenSlideReader | None, reader: str) -> Reader:
    """Return the fast reader where it shows what OpenSlide does, or what the TIFF standard defines; else OpenSlide.

    `reader` is "auto" or the wanted one. Where only the fast reader follows the standard its facts say so, and a
    viewer built on OpenSlide is not to be trusted with the file.

    Raises UnsupportedSlideError where OpenSlide is wanted and shows something else than the standard says.
    """
    found = disagreement(fast, oracle) if oracle is not None else None
    if oracle is None or (found is None and reader != "openslide"):
        return fast
    if found is not None and found.is_ours_standard:
        if reader == "openslide":
            problem = f"is not shown by OpenSlide as its TIFF tags define it: {found.words}"
            raise UnsupportedSlideError(oracle.path, problem, "leave the choice of the reader to auto")
        return fast.without_openslide(f"viewers built on OpenSlide do not show this slide rightly: {found.words}")
    if reader == "fast":
        return fast
    facts = oracle.facts
    if found is not None and reader == "auto":
        warning = f"OpenSlide reads the slide, since the fast reader shows something else: {found.words}"
        facts = replace(facts, warnings=(*facts.warnings, warning))
    return OpenSlideReader(oracle.path, facts)  # a fresh handle, which no broken tile has spoiled


def disagreement(fast: FastTiffReader, oracle: OpenSlideReader) -> Disagreement | None:
    """Return where the tiles differ from what OpenSlide shows, None where they agree.

    Asked are the fullest, the first and the last tile of each level that both know. A broken tile spoils the oracle's
    handle, so it is opened again; what neither can decode is no difference.
    """
    shown = only_ours = 0
    for level, (page, known) in enumerate(zip(fast.pages, oracle.facts.levels, strict=False)):
        for index in _probes(page, fast.patched[level]) if page.size == known.size else ():
            tile_lv = page.box(index).intersection(Box(0, 0, *page.size))
            if not oracle.is_exact(level, tile_lv):
                continue
            ours, theirs = _read(fast.tiles, level, tile_lv), _read(oracle, level, tile_lv)
            if theirs is None:
                only_ours += ours is not None
                oracle = OpenSlideReader(oracle.path, oracle.facts)
                continue
            shown += 1
            apart = _apart(ours, theirs)
            if apart:
                words = f"the tile at {tile_lv.x}, {tile_lv.y} of level {level} {apart}"
                return Disagreement(words, _is_standard(fast, level, index))
    return Disagreement("it decodes none of the tiles that were tried", True) if only_ours and not shown else None


def _probes(page: TiffPage, patched: frozenset[int]) -> list[int]:
    """Return the fullest, the first and the last tile of the page.

    Left out are those that OpenSlide does not read but patches together: whatever it shows there, it has drawn.
    """
    return sorted({int(np.argmax(page.counts)), 0, page.columns * page.rows - 1} - patched)


def _is_standard(fast: FastTiffReader, level: int, index: int) -> bool:
    """Return whether the fast reader decodes a tile to what tifffile makes of it, which goes by the tags."""
    page, data = fast.pages[level], fast.tiles.data(level, index)
    try:
        with library_errors(fast.path, "cannot be decoded"):
            ours, plain = page.decode(data, index), page.decode_plainly(data, index)
    except CorruptSlideError:
        return False
    return ours.shape == plain.shape and _furthest(ours, plain) <= GREY_TOLERANCE


def _read(source: TiffTiles | OpenSlideReader, level: int, tile_lv: Box) -> LevelPixels | None:
    """Return a tile, or None where it cannot be decoded."""
    try:
        return source.read(level, tile_lv) if isinstance(source, TiffTiles) else source.read_exactly(level, tile_lv)
    except CorruptSlideError:
        return None


def _apart(ours: LevelPixels | None, theirs: LevelPixels) -> str:
    """Return how two decodings of a tile differ beyond GREY_TOLERANCE, nothing where they do not."""
    if ours is None:
        return "cannot be decoded"
    most = _furthest(ours.rgb, theirs.rgb)
    return f"differs by up to {most} grey levels" if most > GREY_TOLERANCE else ""


def _furthest(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Return the largest difference of two pictures of one size, grey levels."""
    return int(np.abs(first.astype(np.int16) - second).max())
