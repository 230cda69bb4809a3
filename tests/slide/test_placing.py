"""Levels lie where they show what level 0 shows; others are placed right or left out, and sound ones are never lost."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.slide.zarr_stores import write_store
from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide import SlideSpec, open_slide, placing
from wsi_pipeline.slide.levels import make_levels
from wsi_pipeline.slide.model import FileFacts, LevelPixels, Reader
from wsi_pipeline.slide.placing import place_levels

ROUND: dict[str, Callable[[float], int]] = {"down": math.floor, "up": math.ceil, "nearest": round}
TILE = 128


class Pyramid(Reader):
    """Levels in memory."""

    def __init__(self, levels: list[np.ndarray], px_um: tuple[float, ...] = ()) -> None:
        self.arrays, self.read_px, self.broken = levels, 0, Box(0, 0, 0, 0)
        sizes = [Size(level.shape[1], level.shape[0]) for level in levels]
        ratios = [sizes[0].width / size.width for size in sizes]
        placed = make_levels(sizes, ratios, [Size(TILE, TILE)] * len(sizes), [(um, um) for um in px_um])
        self.facts = FileFacts("memory", "memory", placed, Box(0, 0, *sizes[0]), None, ())

    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        self.read_px += box_lv.area
        if level and box_lv.intersection(self.broken).area:
            raise CorruptSlideError("memory", "is broken")
        return LevelPixels(self.arrays[level][box_lv.y : box_lv.bottom, box_lv.x : box_lv.right].copy(), None)

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def tissue() -> np.ndarray:
    """Return (1507, 1811, 3) of blots of many sizes, like nuclei, glands and lumina, on glass at the left edge."""
    generator = np.random.default_rng(11)
    picture = np.full((1507, 1811), 225.0)
    for sigma, strength in ((2, 90), (6, 160), (20, 300), (60, 500)):
        noise = generator.standard_normal((1507 // sigma + 3, 1811 // sigma + 3)).astype(np.float32)
        picture -= strength / 4 * np.abs(cv2.resize(noise, (1811, 1507), interpolation=cv2.INTER_CUBIC)) * 0.4
    picture[:, :150] = 238
    grey = picture.clip(0, 255)
    return np.dstack([grey, grey * 0.9, grey * 0.95]).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def reduce(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of whole blocks, the last partial ones filled up from the edge."""
    height, width = (-(-side // factor) for side in pixels.shape[:2])
    down, right = height * factor - pixels.shape[0], width * factor - pixels.shape[1]
    padded = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE)
    return cv2.resize(padded, (width, height), interpolation=cv2.INTER_AREA)


def pad(pixels: np.ndarray, tile: int, fill: int) -> np.ndarray:
    down, right = -pixels.shape[0] % tile, -pixels.shape[1] % tile
    return cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(fill,) * 3)


def placed(
    *levels: np.ndarray, px_um: tuple[float, ...] = ()
) -> tuple[list[tuple[float, float] | None], tuple[str, ...]]:
    """Return the factors of each level, None for those left out, and the warnings."""
    pyramid = Pyramid(list(levels), px_um)
    facts = place_levels(pyramid, lambda: pyramid)[1]
    return [(level.factor_x, level.factor_y) if level.used else None for level in facts.levels], facts.warnings


@settings(max_examples=60)
@given(data=st.data())
def test_sound_levels_are_never_lost(tissue: np.ndarray, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(500, 1800)), data.draw(st.integers(500, 1500))
    factor = data.draw(st.sampled_from([2, 4, 2.0005, 2.5, 3]))
    rounded = ROUND[data.draw(st.sampled_from(sorted(ROUND)))]
    how = data.draw(st.sampled_from([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    quality, sharpened, shifted = data.draw(st.integers(30, 95)), data.draw(st.booleans()), data.draw(st.booleans())
    levels = [jpeg(tissue[-height:, -width:], quality)]
    for power in range(1, data.draw(st.integers(3, 6))):
        size = rounded(width / factor**power), rounded(height / factor**power)
        if min(size) < 8:  # no writer goes on below
            break
        level = cv2.resize(levels[0], size, interpolation=how)
        if sharpened:
            level = cv2.addWeighted(level, 2, cv2.GaussianBlur(level, (0, 0), 1), -1, 0)
        if shifted:
            half = np.array([[1, 0, 0.5], [0, 1, 0.5]])
            level = cv2.warpAffine(level, half, size, borderMode=cv2.BORDER_REPLICATE)
        levels.append(jpeg(level, quality))
    factors, warnings = placed(*levels)
    assert warnings == ()
    for level, found in zip(levels, factors, strict=True):
        assert found is not None
        assert abs(width / found[0] - level.shape[1]) < 1.5
        assert abs(height / found[1] - level.shape[0]) < 1.5


@pytest.mark.parametrize("fill", [255, 0])
@pytest.mark.parametrize("tile", [16, 64, 256])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_padded_levels_are_placed_by_their_true_factor(tissue: np.ndarray, factor: int, tile: int, fill: int) -> None:
    levels = [tissue, reduce(tissue, factor), reduce(tissue, factor**2)]
    factors, warnings = placed(levels[0], *(pad(level, tile, fill) for level in levels[1:]))
    assert factors == [(1, 1), (factor, factor), (factor**2, factor**2)]
    assert warnings == ()


def test_a_squeezed_level_has_a_factor_per_axis(tissue: np.ndarray) -> None:
    squeezed = cv2.resize(tissue, (1811 // 6, 1507 // 3), interpolation=cv2.INTER_AREA)
    assert placed(tissue, squeezed)[0][1] == pytest.approx((1811 / 301, 1507 / 502))


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cut below": lambda half: half[: half.shape[0] * 3 // 4],
    "cut by 4 px": lambda half: half[:, :-4],
    "mirrored": lambda half: half[:, ::-1],
    "upside down": lambda half: half[::-1],
    "shifted": lambda half: np.roll(half, 5, 1),
    "of another scale": lambda half: cv2.resize(half, None, fx=1.03, fy=1.03)[: half.shape[0], : half.shape[1]],
    "another picture": lambda half: np.ascontiguousarray(np.rot90(half, 2)),
    "blank": lambda half: np.full_like(half, 240),
}


@pytest.mark.parametrize("kind", WRONG)
def test_levels_that_do_not_line_up_are_left_out_and_the_next_is_kept(tissue: np.ndarray, kind: str) -> None:
    half, quarter = reduce(tissue, 2), reduce(tissue, 4)
    factors, (warning,) = placed(tissue, np.ascontiguousarray(WRONG[kind](half)), quarter)
    assert factors == [(1, 1), None, (4, 4)]
    assert "level 1 of " in warning
    assert "left out" in warning


def test_where_nothing_can_be_compared_levels_stay() -> None:
    """On glass a level cannot be proved wrong, and reading it does no harm: it is as white as level 0."""
    generator = np.random.default_rng(3)
    glass = np.full((901, 1103, 3), 236, np.uint8)
    glass += generator.integers(0, 4, glass.shape, np.uint8)
    assert placed(glass, reduce(glass, 2), reduce(glass, 4)) == ([(1, 1), (2, 2), (4, 4)], ())
    glass[400:440, 700:740] = 90  # a speck
    assert placed(glass, reduce(glass, 2), reduce(glass, 4)) == ([(1, 1), (2, 2), (4, 4)], ())


def test_on_glass_a_levels_own_resolution_places_it() -> None:
    glass = np.full((901, 1103, 3), 236, np.uint8)
    levels = glass, pad(glass[:451, :552], 256, 236)
    assert placed(*levels, px_um=(0.25, 0.5))[0] == [(1, 1), (2, 2)]
    assert placed(*levels)[0][1] == pytest.approx((1103 / 768, 901 / 512))
    assert placed(*levels, px_um=(0.25, 0.25))[0][1] == pytest.approx((1103 / 768, 901 / 512)), "copied, not stated"


def test_levels_of_a_symmetrical_slide_stay(tissue: np.ndarray) -> None:
    mirrored = np.hstack([tissue, tissue[:, ::-1]])
    assert placed(mirrored, reduce(mirrored, 4))[0] == [(1, 1), (4, 4)]


def test_broken_places_are_passed_over(tissue: np.ndarray) -> None:
    pyramid = Pyramid([tissue, reduce(tissue, 2)])
    pyramid.broken = Box(600, 500, 400, 300)
    opened = []
    reader, facts = place_levels(pyramid, lambda: opened.append(1) or pyramid)
    assert reader is pyramid
    assert opened
    assert facts.levels[1].used


def test_only_a_few_places_are_read(tissue: np.ndarray) -> None:
    pyramid = Pyramid([tissue, reduce(tissue, 2), reduce(tissue, 4)])
    place_levels(pyramid, lambda: pyramid)
    assert pyramid.read_px < 2 * 3 * (50**2 + 100**2)


@pytest.mark.parametrize("reader", ["auto", "openslide", "tiffslide"])
def test_every_tiff_reader_leaves_out_and_says_so(write_tiff, tissue: np.ndarray, reader: str) -> None:  # type: ignore[no-untyped-def]
    wrong = np.ascontiguousarray(reduce(tissue, 2)[::-1])
    path = write_tiff("a.tif", tissue, wrong, reduce(tissue, 4), compression="jpeg", photometric="ycbcr")
    with open_slide(path, mpp=0.25, reader=reader) as slide:
        assert slide.info.level_sizes == (Size(1811, 1507), Size(453, 377))
        assert "level 1 of 906 x 754 px" in slide.info.warnings[0]
        full = slide.read_box(Box(0, 0, 1810, 1506), 1).rgb
        means = cv2.resize(full, (905, 753), interpolation=cv2.INTER_AREA)
        assert np.array_equal(slide.read_box(Box(0, 0, 1810, 1506), 2).rgb, means)


@pytest.mark.parametrize("reader", ["auto", "openslide", "tiffslide"])
def test_other_processes_read_the_same_levels_without_a_look(
    write_tiff, tissue: np.ndarray, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    half, quarter = reduce(tissue, 2), reduce(tissue, 4)
    path = write_tiff("a.tif", tissue, np.ascontiguousarray(half[::-1]), pad(quarter, 256, 255))
    with open_slide(path, mpp=0.25, reader=reader) as slide:
        info, seen = slide.info, slide.overview(4).rgb
    spec = pickle.loads(pickle.dumps(SlideSpec(path, info.reader, 0.25, levels=info.levels)))  # noqa: S301 - our own
    assert hash(spec) == hash(SlideSpec(path, info.reader, 0.25, levels=info.levels))
    monkeypatch.setattr(placing, "place_levels", None)
    with spec.open() as again:
        assert again.info.level_sizes == info.level_sizes
        assert np.array_equal(again.overview(4).rgb, seen)


def test_zarr_levels_are_compared_too(tmp_path: Path, tissue: np.ndarray) -> None:
    path = write_store(
        tmp_path / "a.zarr", tissue, np.ascontiguousarray(reduce(tissue, 2)[::-1]), pad(reduce(tissue, 4), 256, 255)
    )
    with open_slide(path) as slide:
        assert [(level.used, level.factor_x) for level in slide.info.levels][::2] == [(True, 1), (True, 4)]
        assert not slide.info.levels[1].used
        assert "level 1 of 906 x 754 px" in slide.info.warnings[0]
