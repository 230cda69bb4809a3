"""The overlay picture: colours at their places, text inside the strips."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.overlay import Caption, OverlayLayers, PieceMark, draw_overlay, round_length, write_png
from wsi_pipeline.export.palette import CLASS_KEYS, NO_CLASS, class_style

WIDTH, HEIGHT = 701, 389
CAPTION = Caption("HER2 2+ (borderline) 9-11 %, 0.25 µm/px", "Fall 7 Ä.svs", "2031-02-03", 1.9)
STRIP, BAR = 82, 24
"""Heights of what stands above the picture, and of the scale bar below it, px."""


def layers(**changes: Any) -> OverlayLayers:
    class_map = np.full((130, 176), NO_CLASS, np.uint8)
    class_map[20:40, 90:120] = CLASS_KEYS.index("3")
    options: dict[str, Any] = {"class_map": class_map, "map_px_per_thumbnail_px": (0.25, 1 / 3)} | changes
    return OverlayLayers(**options)


@pytest.fixture
def thumbnail() -> np.ndarray[Any, Any]:
    return np.full((HEIGHT, WIDTH, 3), (240, 230, 235), np.uint8)


def body(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cut off the strips; the title strip is 82 px high."""
    return picture[STRIP : STRIP + HEIGHT, :WIDTH]


def test_classes_lie_at_their_place(thumbnail: np.ndarray[Any, Any]) -> None:
    before = thumbnail.copy()
    picture = body(draw_overlay(thumbnail, layers(), CAPTION))
    np.testing.assert_array_equal(thumbnail, before)
    changed = (picture != thumbnail).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (columns.min(), columns.max()) == (360, 479)
    assert (rows.min(), rows.max()) == (60, 119)
    assert changed[60:120, 360:480].all()
    red = 0.65 * np.array(class_style("3").rgb) + 0.35 * np.array([240, 230, 235])
    np.testing.assert_allclose(picture[80, 400], red, atol=1)


def test_beyond_the_map_nothing_is_drawn(thumbnail: np.ndarray[Any, Any]) -> None:
    everywhere = np.full((10, 7), CLASS_KEYS.index("1"), np.uint8)
    small = layers(class_map=everywhere, map_px_per_thumbnail_px=(0.1, 0.1))
    changed = (body(draw_overlay(thumbnail, small, CAPTION)) != thumbnail).any(axis=2)
    assert changed[:100, :70].all()
    assert changed.sum() == 7000


def test_outline_hatching_and_pieces(thumbnail: np.ndarray[Any, Any]) -> None:
    tissue = np.zeros((HEIGHT, WIDTH), bool)
    tissue[200:300, 100:300] = True
    excluded = np.zeros_like(tissue)
    excluded[320:360, 500:600] = True
    drawn = layers(
        tissue=tissue,
        excluded=excluded,
        pieces=[PieceMark(1, (200, 250), (5, 160, 395, 190)), PieceMark(12, (699, 2), (600, 0, 100, 9))],
    )
    plain = body(draw_overlay(thumbnail, layers(), CAPTION))
    picture = body(draw_overlay(thumbnail, drawn, CAPTION))
    changed = (picture != plain).any(axis=2)
    assert changed[200, 110:290].all()
    assert changed[200:300, 100].all()
    share = changed[322:358, 502:598].mean()
    assert 0.05 < share < 0.1, "thin lines, far apart"
    excluded_rgb, paper = np.array(class_style("excluded").rgb), thumbnail[340, 550].astype(int)
    lines = picture[322:358, 502:598][changed[322:358, 502:598]].astype(int)
    assert (lines > excluded_rgb + 20).all(), "the tissue is seen through them"
    assert (lines < paper - 20).all()
    number = picture[225:275, 175:225].reshape(-1, 3)
    assert (number < 60).all(axis=1).sum() > 20
    assert (number > 250).all(axis=1).sum() > 60
    assert changed[0:30, 650:701].any()
    assert not changed[:190, :600].any()


def test_the_number_of_a_small_piece_stands_beside_it(thumbnail: np.ndarray[Any, Any]) -> None:
    plain = body(draw_overlay(thumbnail, layers(), CAPTION))
    drawn = layers(pieces=[PieceMark(7, (230, 210), (200, 190, 60, 40))])
    changed = (body(draw_overlay(thumbnail, drawn, CAPTION)) != plain).any(axis=2)
    assert not changed[190:230, 200:258].any(), "the piece is seen"
    assert changed[185:225, 260:300].any()


def test_title_notice_and_legend_are_written(thumbnail: np.ndarray[Any, Any]) -> None:
    picture = draw_overlay(thumbnail, layers(), CAPTION)
    title, legend = picture[:STRIP], picture[STRIP + HEIGHT + BAR :]
    assert (title[:29] < 128).any()
    assert (title[34:53] < 128).any(), "the slide"
    assert (title[58:] < 128).any(), "day and notice"
    swatch = (legend == class_style("3").rgb).all(axis=2)
    assert swatch.sum() > 100
    assert not (legend == class_style("1").rgb).all(axis=2).any()
    assert (title[:, -3:] == 255).all()


def test_long_titles_and_many_classes_fit_a_narrow_picture() -> None:
    class_map = np.arange(len(CLASS_KEYS), dtype=np.uint8)[np.newaxis]
    narrow = np.full((200, 90, 3), 255, np.uint8)
    picture = draw_overlay(
        narrow,
        layers(class_map=class_map, map_px_per_thumbnail_px=(0.1, 0.01)),
        Caption("score " * 60, "name " * 99, "2031-02-03", 0.3),
    )
    assert picture.shape[1] == 640
    assert picture.dtype == np.uint8
    assert (picture[:STRIP, -8:] == 255).all()
    legend = picture[STRIP + 200 + BAR :]
    assert len(legend) > 2 * 24
    for key in CLASS_KEYS:
        assert (legend == class_style(key).rgb).all(axis=2).sum() > 100


def test_the_scale_bar_is_as_long_as_it_says(thumbnail: np.ndarray[Any, Any]) -> None:
    bar = draw_overlay(thumbnail, layers(), CAPTION)[STRIP + HEIGHT : STRIP + HEIGHT + BAR]
    dark = (bar[15] < 60).all(axis=1)
    first = int(np.argmax(dark))
    assert int(np.argmin(dark[first:])) == round(200 / 1.9), "200 um, the longest round length of a quarter"
    assert (bar[:, first + 120 :] < 128).any(), "its length in words"


@pytest.mark.parametrize(
    ("longest", "length"), [(46, 20), (50, 50), (199.9, 100), (5400, 5000), (0.7, 0.5), (1000, 1000)]
)
def test_lengths_are_round(longest: float, length: float) -> None:
    assert round_length(longest) == pytest.approx(length)


def test_rings_cover_as_much_as_is_said(thumbnail: np.ndarray[Any, Any]) -> None:
    picture = body(draw_overlay(thumbnail, layers(class_weight=0.9), CAPTION))
    expected = 0.9 * np.array(class_style("3").rgb) + 0.1 * np.array([240, 230, 235])
    np.testing.assert_allclose(picture[80, 400], expected, atol=1)


def test_masks_of_another_size_are_refused(thumbnail: np.ndarray[Any, Any]) -> None:
    with pytest.raises(OutputError, match=r"tissue mask: has shape \(701, 389\)"):
        draw_overlay(thumbnail, layers(tissue=np.zeros((WIDTH, HEIGHT), bool)), CAPTION)


def test_png_keeps_rgb(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (13, 29, 3), dtype=np.uint8)
    write_png(tmp_path / "overlay.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "overlay.png"))[..., ::-1], picture)
