"""The overlay picture: colours at their places, text inside the strips."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.overlay import OverlayLayers, draw_overlay, write_png
from wsi_pipeline.export.palette import CLASS_KEYS, NO_CLASS, class_style

WIDTH, HEIGHT = 701, 389
TITLE = "HER2 2+ (borderline) 9-11 %, 0.25 µm/px"


def layers(**changes: Any) -> OverlayLayers:
    class_map = np.full((130, 176), NO_CLASS, np.uint8)
    class_map[20:40, 90:120] = CLASS_KEYS.index("3")
    options: dict[str, Any] = {"class_map": class_map, "map_px_per_thumbnail_px": (0.25, 1 / 3)} | changes
    return OverlayLayers(**options)


@pytest.fixture
def thumbnail() -> np.ndarray[Any, Any]:
    return np.full((HEIGHT, WIDTH, 3), (240, 230, 235), np.uint8)


def body(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Cut off the strips; the title strip is 58 px high."""
    return picture[58 : 58 + HEIGHT, :WIDTH]


def test_classes_lie_at_their_place(thumbnail: np.ndarray[Any, Any]) -> None:
    before = thumbnail.copy()
    picture = body(draw_overlay(thumbnail, layers(), TITLE))
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
    changed = (body(draw_overlay(thumbnail, small, TITLE)) != thumbnail).any(axis=2)
    assert changed[:100, :70].all()
    assert changed.sum() == 7000


def test_outline_hatching_and_pieces(thumbnail: np.ndarray[Any, Any]) -> None:
    tissue = np.zeros((HEIGHT, WIDTH), bool)
    tissue[200:300, 100:300] = True
    excluded = np.zeros_like(tissue)
    excluded[320:360, 500:600] = True
    drawn = layers(tissue=tissue, excluded=excluded, pieces=[(1, 200, 250), (12, 699, 2)])
    plain = body(draw_overlay(thumbnail, layers(), TITLE))
    picture = body(draw_overlay(thumbnail, drawn, TITLE))
    changed = (picture != plain).any(axis=2)
    assert changed[200, 110:290].all()
    assert changed[200:300, 100].all()
    share = changed[322:358, 502:598].mean()
    assert 0.2 < share < 0.35
    number = picture[225:275, 175:225].reshape(-1, 3)
    assert (number < 60).all(axis=1).sum() > 20
    assert (number > 250).all(axis=1).sum() > 60
    assert changed[0:30, 650:701].any()
    assert not changed[:190, :600].any()


def test_title_notice_and_legend_are_written(thumbnail: np.ndarray[Any, Any]) -> None:
    picture = draw_overlay(thumbnail, layers(), TITLE)
    title, legend = picture[:58], picture[58 + HEIGHT :]
    assert (title[:29] < 128).any()
    assert (title[34:] < 128).any()
    swatch = (legend == class_style("3").rgb).all(axis=2)
    assert swatch.sum() > 100
    assert not (legend == class_style("1").rgb).all(axis=2).any()
    assert (title[:, -3:] == 255).all()


def test_long_titles_and_many_classes_fit_a_narrow_picture() -> None:
    class_map = np.arange(len(CLASS_KEYS), dtype=np.uint8)[np.newaxis]
    narrow = np.full((200, 90, 3), 255, np.uint8)
    picture = draw_overlay(narrow, layers(class_map=class_map, map_px_per_thumbnail_px=(0.1, 0.01)), "score " * 60)
    assert picture.shape[1] == 640
    assert picture.dtype == np.uint8
    assert (picture[:58, -8:] == 255).all()
    legend = picture[58 + 200 :]
    assert len(legend) > 2 * 24
    for key in CLASS_KEYS:
        assert (legend == class_style(key).rgb).all(axis=2).sum() > 100


def test_masks_of_another_size_are_refused(thumbnail: np.ndarray[Any, Any]) -> None:
    with pytest.raises(OutputError, match=r"tissue mask: has shape \(701, 389\)"):
        draw_overlay(thumbnail, layers(tissue=np.zeros((WIDTH, HEIGHT), bool)), TITLE)


def test_png_keeps_rgb(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (13, 29, 3), dtype=np.uint8)
    write_png(tmp_path / "overlay.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "overlay.png"))[..., ::-1], picture)
