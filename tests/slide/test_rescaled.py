"""A slide at a network's pixel size: placed right, and the same for any cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from wsi_pipeline.geometry import Box, cut
from wsi_pipeline.slide import RescaledSlide, Slide, open_slide
from wsi_pipeline.slide.tiff_page import TiffPage

WIDTH, HEIGHT = 613, 389


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Slide]:
    generator = np.random.default_rng(8)
    image = generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[100:164, 300:364] = (200, 30, 60)
    path = tmp_path / "noise.tif"
    description = "Aperio Image Library (test)\r\n613x389|AppMag = 40|MPP = 0.25"
    tifffile.imwrite(path, image, tile=(128, 128), photometric="rgb", description=description, metadata=None)
    with open_slide(path) as opened:
        yield opened


def test_at_its_own_size_the_pixels_are_the_slides(slide: Slide) -> None:
    view = RescaledSlide(slide, 0.25)
    assert view.size == (WIDTH, HEIGHT)
    own = slide.read_box(Box(40, 30, 200, 150), 1).rgb
    np.testing.assert_array_equal(view.read(Box(40, 30, 200, 150)), own)


@pytest.mark.parametrize("mpp", [0.46, 0.61, 0.19])
def test_any_cut_gives_the_same_pixels(slide: Slide, mpp: float) -> None:
    view = RescaledSlide(slide, mpp)
    whole = view.read(Box(0, 0, *view.size))
    assert whole.shape == (view.size.height, view.size.width, 3)
    parts = np.zeros_like(whole)
    for box in cut(view.size, 97):
        parts[box.y : box.bottom, box.x : box.right] = view.read(box)
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("source_px", [2**24, 128 * 128])
@pytest.mark.parametrize("mpp", [0.25, 0.46, 0.61, 1.0, 1.3])
def test_boxes_here_and_there_are_as_if_read_alone_and_nothing_between_is_decoded(
    slide: Slide, mpp: float, source_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsi_pipeline.slide.slide.SOURCE_PX", source_px)
    view = RescaledSlide(slide, mpp)
    side = round(25 * 0.46 / mpp)
    right, low = view.size.width - side // 2, view.size.height - side // 3  # these hang over the edges
    boxes = [Box(x, y, side, side) for x, y in ((3, 2), (3 + side, 2), (right, 5), (7, low))]
    alone = [view.read_pixels(box) for box in boxes]
    decoded = []
    original = TiffPage.decode
    monkeypatch.setattr(TiffPage, "decode", lambda *asked: decoded.append(asked[2]) or original(*asked))
    for together, one in zip(view.read_boxes(boxes), alone, strict=True):
        np.testing.assert_array_equal(together.rgb, one.rgb)
        np.testing.assert_array_equal(together.valid, one.valid)
    assert set(decoded) == {0, 4, 10, 15}, "of five columns and four rows; the last row is 5 px high"


def test_a_ratio_a_hair_below_a_level_is_read_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(8)
    path = tmp_path / "two levels.tif"
    with tifffile.TiffWriter(path) as writer:
        full = generator.integers(0, 255, (389, 613, 3), dtype=np.uint8)
        for index, image in enumerate((full, cv2.resize(full[:388, :612], (153, 97), interpolation=cv2.INTER_AREA))):
            writer.write(image, tile=(128, 128), photometric="rgb", subfiletype=index, metadata=None)
    with open_slide(path, mpp=0.2501) as slide:
        levels = []
        original = slide._read_window
        monkeypatch.setattr(slide, "_read_window", lambda *asked: levels.append(asked[0]) or original(*asked))
        for mpp in (0.99, 1.0, 1.0004, 1.3):  # ratios of 3.96, 3.998, 4.0 and 5.2
            RescaledSlide(slide, mpp).read(Box(10, 20, 40, 30))
    assert levels == [0, 1, 1, 1]


def test_things_are_where_they_were(slide: Slide) -> None:
    view = RescaledSlide(slide, 0.46)
    ratio = 0.46 / 0.25
    left, top, right, bottom = (round(value / ratio) for value in (300, 100, 364, 164))
    patch = view.read(Box(left + 1, top + 1, right - left - 2, bottom - top - 2))
    assert (patch == (200, 30, 60)).all()
    around = view.read(Box(left - 2, top - 2, 2, 2))
    assert not (around == (200, 30, 60)).all(axis=-1).any()


def test_beyond_the_slide_is_white(slide: Slide) -> None:
    view = RescaledSlide(slide, 0.46)
    edge = view.read(Box(view.size.width - 3, -5, 10, 4))
    assert (edge == 255).all()


def test_what_cannot_be_read_is_counted_once_for_all_boxes(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    original = slide.read_parts
    monkeypatch.setattr(slide, "read_parts", lambda *asked: (original(*asked)[0], 400))
    found = RescaledSlide(slide, 0.35).read_boxes([Box(8, 9, 20, 30), Box(60, 9, 20, 30)])
    assert [pixels.unreadable for pixels in found] == [205, 0]  # 400 px of 0.25 um are 204.1 of 0.35 um
