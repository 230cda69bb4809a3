"""The fast reader shows what OpenSlide shows at every level and edge, of holes and damage too, or leaves it that."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.slide.against_openslide import decoded, drawn, furthest
from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide import SlideSpec, open_slide
from wsi_pipeline.slide.fast_reader import FastTiffReader, drawable_tiles, patched_tiles
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.tiff_page import TiffPage
from wsi_pipeline.slide.tiff_tiles import TiffTiles

APERIO = "Aperio Image Library v12|AppMag = 20|MPP = 0.499"
WIDTH, HEIGHT = 613, 389


def test_metadata_is_openslides(svs: Path) -> None:
    with open_slide(svs) as fast, open_slide(svs, reader="openslide") as oracle:
        ours, theirs = vars(fast.info), vars(oracle.info)
    assert {name for name in ours if ours[name] != theirs[name]} == {"reader"}
    assert (ours["reader"], theirs["reader"]) == ("fast", "openslide")
    assert len(ours["level_sizes"]) == 2  # neither thumbnail nor label nor macro


def test_subifds_are_levels(ome: Path, scan: np.ndarray, quarter: np.ndarray) -> None:
    assert np.array_equal(decoded(ome, 0), scan)
    assert np.array_equal(decoded(ome, 1), quarter)
    with open_slide(ome) as slide:
        assert (slide.info.reader, slide.info.openslide) == ("fast", False)


@pytest.mark.parametrize("page", [0, 2])
def test_a_missing_tile_shows_at_every_level_what_openslide_shows(
    svs: Path, erase_tile: Callable[..., None], page: int
) -> None:
    erase_tile(svs, 1, 0, page=page)
    with open_slide(svs) as slide:
        assert slide.info.reader == "fast"
        level0 = slide.overview(1)
        level1 = slide._reader.read_level(1, Box(0, 0, 153, 97))  # type: ignore[union-attr]
    for level, found in enumerate((level0, level1)):
        assert furthest(found.rgb, drawn(svs, level)) <= 1
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[:64, 64:128] = page == 0
    assert np.array_equal(~level0.valid, hole)
    assert level1.valid is not None
    assert (~level1.valid).any() == (page == 0)  # 16 px of level 1 at least have nothing to be drawn from
    assert level0.unreadable == 0


def test_a_missing_tile_of_a_generic_tiff_is_white_at_its_level_only(
    write_tiff: Callable[..., Path], scan: np.ndarray, quarter: np.ndarray, erase_tile: Callable[..., None]
) -> None:
    path = write_tiff("scan.tif", scan, quarter, compression="lzw")
    erase_tile(path, 1, 0)
    for level, stored in enumerate((scan, quarter)):
        ours = decoded(path, level)
        assert np.array_equal(ours, drawn(path, level))
        assert np.array_equal(ours, stored) == (level == 1)


def test_tiles_that_would_hold_a_missing_one_are_patched_too(write_tiff: Callable[..., Path], scan: np.ndarray) -> None:
    path = write_tiff("scan.tif", scan, scan[::2, ::2], scan[::4, ::4], scan[::8, ::8])
    with tifffile.TiffFile(path) as tiff:
        pages = [TiffPage(path, page) for page in tiff.pages]
    assert [(page.columns, page.rows) for page in pages] == [(10, 7), (5, 4), (3, 2), (2, 1)]
    pages[0].holes, pages[2].holes = frozenset({37}), frozenset({2})
    # column 7, row 3 -> 3, 1 -> 1, 0; rows of the last level: 2 / 1
    patched = patched_tiles(pages)
    assert patched == [{37}, {8}, {1, 2}, {0, 1}]
    assert drawable_tiles(pages, patched) == [set(), {8}, {1, 2}, {0, 1}]
    pages[0].holes = frozenset(range(70)) - {0}  # the slide's upper left corner is all there is
    patched = patched_tiles(pages)
    assert patched[1:] == [set(range(20)), set(range(6)), {0, 1}]
    assert drawable_tiles(pages, patched) == [set(), {0}, {0}, {0}]


def test_coarse_tiles_of_a_sparse_slide_are_shown_as_stored(
    svs: Path, erase_tile: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tifffile.imread(svs, key=2)
    erase_tile(svs, 1, 0)
    assert not np.array_equal(decoded(svs, 1), stored)
    monkeypatch.setattr("wsi_pipeline.slide.fast_reader.FEW_HOLES", 0)
    assert np.array_equal(decoded(svs, 1), stored)
    with open_slide(svs) as slide:
        assert (slide.info.reader, slide.info.warnings) == ("fast", ())


boxes = st.builds(Box, st.integers(-40, 640), st.integers(-40, 410), st.integers(1, 300), st.integers(1, 300))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(box=boxes, threads=st.sampled_from([1, 2]))
def test_any_box_is_cut_from_what_openslide_draws(svs: Path, box: Box, threads: int) -> None:
    with open_slide(svs, reader="fast", threads=threads) as slide, openslide.OpenSlide(svs) as oracle:
        read = slide.read_box(box, 1)
        rgba = np.asarray(oracle.read_region((box.x, box.y), 0, box.size))
    assert np.array_equal(read.valid, rgba[..., 3] > 0)
    assert np.array_equal(read.rgb, np.where(rgba[..., 3:] > 0, rgba[..., :3], 255))


def test_each_tile_is_decoded_once(svs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_tiles = []
    original = TiffPage.decode
    monkeypatch.setattr(
        TiffPage, "decode", lambda self, data, index: decoded_tiles.append(index) or original(self, data, index)
    )
    with open_slide(svs, reader="fast") as slide:
        decoded_tiles.clear()  # of the first look, and of the places at which levels are compared
        slide.read_box(Box(30, 70, 300, 200), 1)
    rows, columns = range(1, 5), range(6)
    assert decoded_tiles == [row * 10 + column for row in rows for column in columns]


def test_a_flat_file_is_never_decoded_whole(
    write_tiff: Callable[..., Path], scan: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff("flat.svs", scan, description=APERIO, compression="jpeg", photometric="ycbcr")
    with open_slide(path) as slide:
        whole = slide.overview(16)
    monkeypatch.setattr("wsi_pipeline.slide.slide.SOURCE_PX", 128 * 128)
    areas = []
    original = TiffTiles.read
    monkeypatch.setattr(TiffTiles, "read", lambda *asked: areas.append(asked[2].area) or original(*asked))
    with open_slide(path, reader="fast") as slide:
        pieces = slide.overview(16)
    assert len(areas) > 10
    assert max(areas) <= 128 * 128
    assert np.array_equal(pieces.rgb, whole.rgb)


def test_where_it_shows_something_else_openslide_reads_with_a_warning(
    svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TiffPage.decode
    monkeypatch.setattr(TiffPage, "decode", lambda *arguments: original(*arguments) ^ 2)
    with open_slide(svs) as slide:
        info = slide.info
        read = slide.read_box(Box(100, 70, 200, 150), 1).rgb
    assert info.reader == "openslide"
    assert len(info.warnings) == 1
    assert "the tile at 0, 0 of level 0 differs by up to 2 grey levels" in info.warnings[0]
    assert np.array_equal(read, drawn(svs, 0)[70:220, 100:300])
    with open_slide(svs, reader="fast") as slide:
        assert (slide.info.reader, slide.info.warnings) == ("fast", ())


def test_a_tile_that_only_openslide_decodes_is_a_difference(svs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise CorruptSlideError(svs, "has a broken tile")

    monkeypatch.setattr(TiffPage, "decode", refuse)
    with open_slide(svs) as slide:
        assert slide.info.reader == "openslide"
        assert "cannot be decoded" in slide.info.warnings[0]
    with open_slide(svs, reader="fast") as slide:  # OpenSlide has the last word on what is broken
        read = slide.read_box(Box(0, 0, 128, 128), 1)
        assert read.unreadable == 0
        assert np.array_equal(read.rgb, drawn(svs, 0)[:128, :128])


def test_another_process_opens_alike_without_asking_openslide_again(svs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_slide(svs) as slide:
        known = SlideSpec(svs, slide.info.reader, threads=2, openslide=slide.info.openslide)
    spec = pickle.loads(pickle.dumps(known))  # noqa: S301 - our own bytes

    def draw(*_arguments: object) -> None:
        raise AssertionError("OpenSlide was asked")

    monkeypatch.setattr(OpenSlideReader, "read_level", draw)
    with spec.open() as slide:
        assert slide.info.reader == "fast"
        assert slide.overview(1).valid.all()
    with pytest.raises(CorruptSlideError, match="was asked"):
        open_slide(svs)


@pytest.mark.parametrize("fill", [b"", b"\xff"])
def test_a_probe_that_nobody_can_decode_is_no_difference(
    svs: Path, break_tile: Callable[..., None], fill: bytes
) -> None:
    pixels = tifffile.imread(svs, key=0)
    break_tile(svs, 0, 0, fill=fill)
    break_tile(svs, 9, 6, fill=fill)
    with open_slide(svs) as slide:
        assert (slide.info.reader, slide.info.warnings) == ("fast", ())
        read = slide.overview(1)
    lost = np.zeros((HEIGHT, WIDTH), bool)
    lost[:64, :64] = lost[384:, 576:] = True
    assert np.array_equal(~read.valid, lost)
    assert read.unreadable == 64 * 64 + 37 * 5
    assert np.array_equal(read.rgb[~lost], pixels[~lost])


def test_pixels_lie_in_arrays_of_the_callers_own(svs: Path) -> None:
    with open_slide(svs) as slide:
        first = slide.read_box(Box(0, 0, 64, 64), 1)
        kept = first.rgb.copy()
        first.rgb[:] = 7
        assert np.array_equal(slide.read_box(Box(0, 0, 64, 64), 1).rgb, kept)


def test_a_closed_reader_lets_go_of_the_file(svs: Path) -> None:
    slide = open_slide(svs)
    reader = slide._reader
    assert isinstance(reader, FastTiffReader)
    reader.close()
    with pytest.raises(OSError, match="descriptor"):
        reader.read_level(0, Box(0, 0, 64, 64))


def test_openslide_reads_exactly_from_a_corner_on_both_grids(svs: Path) -> None:
    reader = OpenSlideReader(svs)
    whole = drawn(svs, 1)
    assert reader.facts.levels[1].size == Size(153, 97)
    box = Box(64, 64, 60, 30)
    assert reader.is_exact(1, box)
    assert np.array_equal(reader.read_exactly(1, box).rgb, whole[64:94, 64:124])
    assert not np.array_equal(reader.read_level(1, box).rgb, whole[64:94, 64:124])
    reader.close()


def test_damage_is_told_by_the_place_of_the_tile(svs: Path, break_tile: Callable[..., None]) -> None:
    break_tile(svs, 3, 2, fill=b"\xff")
    with tifffile.TiffFile(svs) as tiff:
        pages = [TiffPage(svs, tiff.pages[0])]
    tiles = TiffTiles(svs, pages)
    with pytest.raises(CorruptSlideError, match="ends early at 192, 128"):
        tiles.read(0, Box(0, 0, WIDTH, HEIGHT))
    tiles.close()
