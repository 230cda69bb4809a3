"""What only decodes touches the native tiles that reading shows, each once, at every level, edge, hole and origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide import Slide, decode_only, open_slide
from wsi_pipeline.slide.fast_reader import FastTiffReader
from wsi_pipeline.slide.tiff_page import TiffPage

Touched = Callable[[Callable[[], object]], list[tuple[Size, int]]]


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> Touched:
    """Return what does some work and returns the (size of the level, tile) of everything that was decoded."""

    def watch(work: Callable[[], object]) -> list[tuple[Size, int]]:
        found: list[tuple[Size, int]] = []
        plain = TiffPage.decode

        def decode(page: TiffPage, data: bytes, index: int) -> np.ndarray:
            found.append((page.size, index))
            return plain(page, data, index)

        with monkeypatch.context() as patched:
            patched.setattr(TiffPage, "decode", decode)
            work()
        return found

    return watch


def boxes(step: int, count: int = 40) -> list[Box]:
    """Return boxes on the grid of `step` in and around a slide of 613 x 389 px, many over its edges."""
    random = np.random.default_rng(step)
    places, sizes = random.integers(-130, 600, (count, 2)), random.integers(1, 330, (count, 2))
    return [
        Box(int(x) // step * step, int(y) // step * step, -(-int(width) // step) * step, -(-int(height) // step) * step)
        for (x, y), (width, height) in zip(places, sizes, strict=True)
    ]


def assert_same_tiles(slide: Slide, touched: Touched) -> None:
    """Hold decoding alone against reading, at every downsample."""
    some = 0
    for step in (1, 2, 3, 4, 5, 8):
        for box in boxes(step):
            read = touched(partial(slide.read_box, box, step))
            alone = touched(partial(decode_only, slide, box, step))
            assert sorted(alone) == sorted(read), (box, step)
            assert decode_only(slide, box, step) == len(alone)
            some += len(alone)
    assert some > 300


def test_the_tiles_are_those_that_reading_shows(svs: Path, touched: Touched) -> None:
    with open_slide(svs) as slide:
        assert_same_tiles(slide, touched)


def test_a_level_whose_px_lie_across_those_of_level_0(
    write_tiff: Callable[..., Path], scan: np.ndarray, touched: Touched
) -> None:
    third = cv2.resize(scan, (223, 134), interpolation=cv2.INTER_AREA)
    with open_slide(write_tiff("odd.tif", scan, third), mpp=0.25, reader="fast") as slide:
        assert slide.reader.facts.levels[1].factor_x == 613 / 223
        assert_same_tiles(slide, touched)


@pytest.mark.parametrize("page", [0, 2])
def test_a_hole_is_not_decoded_nor_what_openslide_draws_over_it(
    svs: Path, erase_tile: Callable[..., None], page: int, touched: Touched
) -> None:
    erase_tile(svs, 1, 0, page=page)
    with open_slide(svs) as slide:
        assert_same_tiles(slide, touched)
        assert decode_only(slide, Box(70, 3, 20, 9), 1) == (0 if page == 0 else 1)
        assert decode_only(slide, Box(280, 12, 40, 8), 4) == (1 if page == 0 else 0)


def test_a_shown_frame_that_begins_inside_the_file(svs: Path, touched: Touched) -> None:
    with open_slide(svs) as whole:
        reader, info = whole.reader, whole.info
    assert isinstance(reader, FastTiffReader)
    frame = Box(61, 35, 401, 290)
    inner = FastTiffReader(svs, replace(reader.facts, bounds_l0=frame), reader.pages)
    slide = Slide(replace(info, size_l0=frame.size, bounds_origin_l0=(frame.x, frame.y)), inner, lambda: inner)
    assert_same_tiles(slide, touched)
    assert decode_only(slide, Box(0, 0, 3, 5), 1) == 1
    assert decode_only(slide, Box(0, 0, 4, 30), 1) == 4  # from 61 to 65 and from 35 to 65, across tiles of 64
    assert decode_only(slide, Box(401, 0, 50, 50), 1) == 0


def test_the_tiles_of_a_box_counted_by_hand(svs: Path) -> None:
    with open_slide(svs) as slide:
        assert decode_only(slide, Box(63, 63, 2, 2), 1) == 4
        assert decode_only(slide, Box(0, 0, 613, 389), 1) == 10 * 7
        assert decode_only(slide, Box(0, 0, 616, 392), 4) == 3 * 2
        assert decode_only(slide, Box(-500, 0, 500, 389), 1) == 0


def test_nothing_is_known_of_what_another_library_decodes(svs: Path) -> None:
    with open_slide(svs, reader="openslide") as slide:
        assert decode_only(slide, Box(0, 0, 64, 64), 1) is None


def test_a_broken_tile_is_named(svs: Path, break_tile: Callable[..., None]) -> None:
    break_tile(svs, 2, 1)
    with open_slide(svs, reader="fast") as slide:
        assert decode_only(slide, Box(0, 0, 128, 128), 1) == 4
        with pytest.raises(CorruptSlideError, match="at 128, 64"):
            decode_only(slide, Box(0, 0, 129, 65), 1)
