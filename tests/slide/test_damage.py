"""Holes, broken tiles, poisoned handles and bounds, with real files and with a reader made of an array."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.slide import Slide, SlideInfo, open_slide
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, Reader

TILE = 64
FULL = Size(613, 389)


class ArrayReader(Reader):
    """Levels from arrays; a box that touches a broken tile spoils the handle, as OpenSlide's do."""

    opened = 0
    largest = 0

    def __init__(self, levels: list[np.ndarray], bounds: Box, broken: frozenset[tuple[int, int]] = frozenset()) -> None:
        type(self).opened += 1
        self.spoiled = False
        self.arrays, self.broken = levels, broken
        sizes = [Size(level.shape[1], level.shape[0]) for level in levels]
        ratios = [sizes[0].width / size.width for size in sizes]
        tiles = [Size(TILE, TILE)] * len(sizes)
        self.facts = FileFacts("fake", "fake", make_levels(sizes, ratios, tiles), bounds, None, ())

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """See Reader.read_level."""
        type(self).largest = max(type(self).largest, box_lv.area)
        assert box_lv.intersection(Box(0, 0, *self.facts.levels[level].size)) == box_lv
        tiles = (
            {(x // TILE, y // TILE) for x in range(box_lv.x, box_lv.right) for y in range(box_lv.y, box_lv.bottom)}
            if self.broken
            else set()
        )
        self.spoiled |= bool(tiles & self.broken)
        if self.spoiled:
            raise CorruptSlideError("fake", "spoiled")
        return LevelPixels(self.arrays[level][box_lv.y : box_lv.bottom, box_lv.x : box_lv.right], None)

    def close(self) -> None:
        """Nothing is open."""


def fake_slide(levels: list[np.ndarray], bounds: Box, broken: frozenset[tuple[int, int]] = frozenset()) -> Slide:
    ArrayReader.opened = ArrayReader.largest = 0
    first = ArrayReader(levels, bounds, broken)
    sizes = tuple(level.size for level in first.facts.levels)
    info = SlideInfo(
        Path("fake"), "fake", "fake", bounds.size, tuple(level.downsample for level in first.facts.levels), sizes,
        Mpp(0.25, 0.26), "fake", (bounds.x, bounds.y), sizes[0], None,
    )  # fmt: skip
    return Slide(info, first, lambda: ArrayReader(levels, bounds, broken))


def test_bounds_shift_the_frame_and_hide_the_rest(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(37, 21, 301, 203))
    read = slide.read_box(Box(-8, -8, 320, 224), 1)
    assert np.array_equal(read.rgb[8:211, 8:309], scan[21:224, 37:338])
    assert read.valid.sum() == 301 * 203


def test_bounds_that_are_no_whole_level_px_are_honoured(scan: np.ndarray) -> None:
    coarse = np.repeat(np.repeat(scan[:96, :152], 4, axis=0), 4, axis=1)  # (384, 608): level 1 holds all there is
    with_bounds = fake_slide([coarse, scan[:96, :152]], Box(37, 21, 301, 203))
    flat = fake_slide([coarse], Box(37, 21, 301, 203))
    for downsample in (4, 6, 10):
        box = Box(0, 0, 20 * downsample, 16 * downsample)
        read, direct = with_bounds.read_box(box, downsample), flat.read_box(box, downsample)
        assert np.abs(read.rgb.astype(int) - direct.rgb).max() <= 1
        assert np.array_equal(read.valid, direct.valid)


def test_a_flat_file_is_averaged_in_bounded_pieces(scan: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_pipeline.slide.slide.SOURCE_PX", 128 * 128)
    slide = fake_slide([scan], Box(0, 0, *FULL))
    pieces = slide.overview(16)
    assert 64 * 64 <= ArrayReader.largest <= 128 * 128
    monkeypatch.undo()
    whole = slide.overview(16)
    assert np.array_equal(pieces.rgb, whole.rgb)
    assert np.array_equal(pieces.valid, whole.valid)
    assert whole.valid.shape == (25, 39)


def test_a_broken_tile_that_nobody_asks_for_is_not_counted(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(0, 0, *FULL), frozenset({(2, 1), (5, 3)}))
    area, wanted = Box(10, 10, 400, 300), (Box(10, 10, 118, 300), Box(310, 200, 100, 60))
    read, lost = slide.read_parts(area, 1, wanted)
    assert read.valid is not None
    for part in wanted:
        rows, columns = slice(part.y - 10, part.bottom - 10), slice(part.x - 10, part.right - 10)
        shown = read.valid[rows, columns]
        assert np.array_equal(read.rgb[rows, columns][shown], scan[part.y : part.bottom, part.x : part.right][shown])
        assert (~shown).sum() == (64 * 56 if part is wanted[1] else 0)
    assert lost == TILE * TILE, "the whole broken tile that a part touches, not the one that none does"


def test_a_spoiled_handle_is_replaced_and_only_the_broken_tile_is_lost(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(0, 0, *FULL), frozenset({(2, 1)}))
    read = slide.read_box(Box(10, 10, 400, 300), 1)
    broken = np.zeros((300, 400), bool)
    broken[54:118, 118:182] = True
    assert np.array_equal(~read.valid, broken)
    assert read.unreadable == TILE * TILE
    assert np.array_equal(read.rgb[~broken], scan[10:310, 10:410][~broken])
    opened = ArrayReader.opened
    assert np.array_equal(slide.read_box(Box(300, 0, 200, 200), 1).rgb, scan[:200, 300:500])
    assert ArrayReader.opened == opened  # the shared handle was left sound


def test_a_passing_failure_is_mended_by_the_retry(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(0, 0, *FULL))
    slide._reader.spoiled = True  # type: ignore[union-attr]
    read = slide.read_box(Box(0, 0, 613, 389), 1)
    assert np.array_equal(read.rgb, scan)
    assert (read.unreadable, read.valid.all()) == (0, True)


def test_threads_beside_a_broken_tile_lose_nothing(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(0, 0, *FULL), frozenset({(4, 3)}))
    start = threading.Barrier(4)

    def read(index: int) -> int:
        start.wait(5)
        return sum(slide.read_box(Box(x, 64 * index, 128, 64), 1).unreadable for x in range(0, 512, 128))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, [0, 1, 2, 3])) == [0, 0, 0, TILE * TILE]


def test_unreadable_is_counted_in_output_px(scan: np.ndarray) -> None:
    slide = fake_slide([scan], Box(0, 0, *FULL), frozenset({(2, 1)}))
    read = slide.read_box(Box(0, 0, 320, 192), 8)
    assert read.unreadable == 64
    assert (~read.valid).sum() == 64


@pytest.mark.parametrize("fill", [b"", b"\xff"])  # noise is refused by every decoder, an early end by OpenSlide and us
@pytest.mark.parametrize("reader", ["fast", "openslide", "tiffslide"])
def test_a_broken_jpeg_tile_costs_that_tile_only(
    svs: Path, break_tile: Callable[..., None], reader: str, fill: bytes
) -> None:
    pixels = tifffile.imread(svs, key=0)
    break_tile(svs, 3, 2, fill=fill)
    with open_slide(svs, reader=reader) as slide:
        read = slide.overview(1)
        again = slide.read_box(Box(0, 0, 128, 128), 1)
    lost = np.zeros((389, 613), bool)
    lost[128:192, 192:256] = True
    assert np.array_equal(~read.valid, lost)
    assert read.unreadable == TILE * TILE
    assert np.array_equal(read.rgb[~lost], pixels[~lost])
    assert (read.rgb[lost] == 255).all()
    assert np.array_equal(again.rgb, pixels[:128, :128])


@pytest.mark.parametrize("reader", ["fast", "openslide", "tiffslide"])
def test_a_tile_never_written_is_not_valid_and_white(svs: Path, erase_tile: Callable[..., None], reader: str) -> None:
    pixels = tifffile.imread(svs, key=0)
    erase_tile(svs, 1, 4)
    with open_slide(svs, reader=reader) as slide:
        read = slide.overview(1)
    hole = np.zeros((389, 613), bool)
    hole[256:320, 64:128] = True
    assert np.array_equal(~read.valid, hole)
    assert (read.rgb[hole] == 255).all()
    assert np.array_equal(read.rgb[~hole], pixels[~hole])
    assert read.unreadable == 0
