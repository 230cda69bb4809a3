"""The quality filter on tiles whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from wsi_pipeline.errors import UsageError
from wsi_pipeline.stain.quality import (
    REASONS,
    QualityOptions,
    check_answers,
    check_pixels,
    check_tiles,
    pixel_figures,
)  # fmt: skip

OPTIONS = QualityOptions()
HEIGHT, WIDTH = 96, 130


def stripes(dark: int, bright: int) -> np.ndarray:
    """Return a grey tile (HEIGHT, WIDTH, 3) of upright stripes one px wide."""
    tile = np.full((HEIGHT, WIDTH, 3), dark, np.uint8)
    tile[:, 1::2] = bright
    return tile


SOUND = stripes(100, 140)
FLAT = stripes(120, 120)
DARK = stripes(20, 40)
GLARING = stripes(225, 255)
HARSH = stripes(10, 245)


def soft() -> np.ndarray:
    """Return a tile that is a slow slope: contrast, but no edge."""
    return np.broadcast_to(np.linspace(90, 170, WIDTH).astype(np.uint8)[None, :, None], (HEIGHT, WIDTH, 3)).copy()


def failed(tile: np.ndarray) -> list[str]:
    return [name for name, bad in zip(REASONS, check_pixels(tile[None], OPTIONS)[0], strict=False) if bad]


@pytest.mark.parametrize(
    ("tile", "reasons"),
    [
        (SOUND, []), (FLAT, ["blurred", "contrast"]), (DARK, ["brightness"]), (GLARING, ["brightness"]),
        (HARSH, ["contrast"]), (soft(), ["blurred"]), (stripes(255, 255), ["blurred", "brightness", "contrast"]),
    ],
    ids=["sound", "flat", "dark", "glaring", "harsh", "soft", "white"],
)  # fmt: skip
def test_pixel_checks(tile: np.ndarray, reasons: list[str]) -> None:
    assert failed(tile) == reasons


def test_figures_have_the_stated_units() -> None:
    found = pixel_figures(SOUND[None], OPTIONS)
    assert found.sharpness[0] == 80**2  # each px differs by 40 from its left and its right neighbour
    assert found.brightness[0] == pytest.approx(120 / 255)
    assert found.contrast[0] == pytest.approx(20 / 255)
    blue = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    blue[..., 2] = 255
    assert pixel_figures(blue, OPTIONS).brightness[0] == pytest.approx(29 / 255)  # 0.114 * 255, rounded


def test_limits_themselves_pass() -> None:
    figures = pixel_figures(SOUND[None], OPTIONS)
    exact = {
        "least_sharpness": figures.sharpness[0], "least_brightness": figures.brightness[0],
        "least_contrast": figures.contrast[0],
    }  # fmt: skip
    assert not check_pixels(SOUND[None], QualityOptions(**exact)).any()
    for name, value in exact.items():
        just_above = QualityOptions(**{name: np.nextafter(value, np.inf)})
        assert check_pixels(SOUND[None], just_above)[0].sum() == 1
    for name in ("brightness", "contrast"):
        value = exact[f"least_{name}"]
        assert not check_pixels(SOUND[None], QualityOptions(**{f"most_{name}": value})).any()
        assert check_pixels(SOUND[None], QualityOptions(**{f"most_{name}": np.nextafter(value, 0)})).any()


def at_the_edge() -> tuple[np.ndarray, np.ndarray]:
    """Return a sound stain on 30 % of a tile, glass on the rest, and where the stain is."""
    tissue = np.zeros((HEIGHT, WIDTH), bool)
    tissue[:, :39] = True
    return np.where(tissue[..., None], SOUND, np.uint8(250)), tissue


def test_glass_is_no_bad_stain() -> None:
    tile, tissue = at_the_edge()
    assert failed(tile) == []  # two grey levels, so bright as it is
    pale = np.where(tissue[..., None], stripes(170, 200), np.uint8(250))
    assert failed(pale) == ["brightness"]
    assert not check_pixels(pale[None], OPTIONS, tissue[None]).any()
    found, alone = pixel_figures(tile[None], OPTIONS, tissue[None]), pixel_figures(SOUND[None], OPTIONS)
    assert found.sharpness[0] == pytest.approx(alone.sharpness[0], rel=0.001)
    assert found.brightness[0] == pytest.approx(alone.brightness[0], abs=0.01)
    assert found.contrast[0] == pytest.approx(alone.contrast[0], rel=0.001)


def test_glass_does_not_hide_a_bad_stain() -> None:
    _, tissue = at_the_edge()
    flat = np.where(tissue[..., None], FLAT, np.uint8(250))
    assert failed(flat) == []  # the border of the glass is an edge, and a contrast
    assert check_pixels(flat[None], OPTIONS, tissue[None])[0].tolist() == [True, False, True]


def test_glass_alone_is_measured_as_glass() -> None:
    tile, tissue = np.full((1, HEIGHT, WIDTH, 3), 250, np.uint8), np.zeros((1, HEIGHT, WIDTH), bool)
    tile[0, 0, :20] = SOUND[0, :20]
    tissue[0, 0, :20] = True  # 0.2 % of the tile, less than the least share
    assert check_pixels(tile, OPTIONS, tissue)[0].tolist()[1:] == [True, True]
    assert np.array_equal(pixel_figures(tile, OPTIONS, tissue), pixel_figures(tile, OPTIONS))


def test_thin_tissue_without_an_inside_is_still_measured() -> None:
    tile, tissue = np.full((1, HEIGHT, WIDTH, 3), 250, np.uint8), np.zeros((1, HEIGHT, WIDTH), bool)
    tissue[0, ::3] = True
    tile[tissue] = 120
    figures = pixel_figures(tile, OPTIONS, tissue)
    assert np.isfinite(figures).all()
    assert figures.brightness[0] == pytest.approx(120 / 255)


CERTAIN = np.array([0.05, 0.05, 0.8, 0.1])


def test_answers() -> None:
    probabilities = np.array([CERTAIN, CERTAIN, [0.54, 0.46, 0, 0], [0.55, 0.45, 0, 0], [np.nan] * 4])
    found = check_answers(probabilities, np.array([2, 1, 0, 1, 0]), OPTIONS)
    assert found[:4].tolist() == [[False, False], [False, True], [True, False], [False, True]]
    assert found[4, 0]  # not a number is not sure
    assert not check_answers(probabilities, None, OPTIONS)[:, 1].any()


def test_all_reasons_are_kept() -> None:
    tiles = np.stack([stripes(255, 255), SOUND, SOUND, DARK])
    probabilities = np.array([[0.3, 0.3, 0.2, 0.2], CERTAIN, CERTAIN, CERTAIN])
    labels = np.array([3, 2, 1, 2])
    quality = check_tiles(tiles, probabilities, labels, OPTIONS)
    assert quality.failed[0].all()
    assert quality.accepted.tolist() == [False, True, False, False]
    assert quality.made.all()
    assert quality.counts() == {"blurred": 1, "brightness": 2, "contrast": 1, "unsure": 1, "label": 2}
    assert quality.accepted_per_class(labels) == {1: (0, 1), 2: (1, 2), 3: (0, 1)}


def test_what_was_not_checked_is_not_passed() -> None:
    tiles = np.stack([SOUND, DARK])
    probabilities, labels = np.stack([CERTAIN, CERTAIN]), np.array([2, 2])
    made = {
        "nothing": check_tiles(tiles, None, None, OPTIONS),
        "labels only": check_tiles(tiles, None, labels, OPTIONS),
        "answers only": check_tiles(tiles, probabilities, None, OPTIONS),
        "both": check_tiles(tiles, probabilities, labels, OPTIONS),
    }
    assert {name: quality.made.tolist()[3:] for name, quality in made.items()} == {
        "nothing": [False, False], "labels only": [False, False], "answers only": [True, False], "both": [True, True],
    }  # fmt: skip
    assert set(made["nothing"].counts()) == set(REASONS[:3])
    assert set(made["answers only"].counts()) == set(REASONS[:4])
    for quality in made.values():
        assert quality.made[:3].all()
        assert not (quality.failed & ~quality.made).any()
        assert quality.accepted.tolist() == [True, False]


def test_no_tiles() -> None:
    quality = check_tiles(np.zeros((0, 8, 9, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64), OPTIONS)
    assert quality.failed.shape == (0, 5)
    assert sum(quality.counts().values()) == 0


def test_arrays_that_do_not_fit_are_refused() -> None:
    tiles = SOUND[None]
    with pytest.raises(UsageError, match="tiles"):
        check_pixels(tiles.astype(np.float32), OPTIONS)
    with pytest.raises(UsageError, match="tissue"):
        check_pixels(tiles, OPTIONS, np.ones((1, 4, 4), bool))
    with pytest.raises(UsageError, match=r"probabilities \(1, 3\)"):
        check_answers(np.ones((1, 3)), None, OPTIONS)
    for labels in ([4], [-1], [0, 1]):
        with pytest.raises(UsageError, match="labels must be 1 classes from 0 to 3"):
            check_answers(CERTAIN[None], np.array(labels), OPTIONS)
    with pytest.raises(UsageError, match="2 probabilities for 1 tiles"):
        check_tiles(tiles, np.stack([CERTAIN, CERTAIN]), None, OPTIONS)


def test_options_that_nothing_can_pass_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"least_brightness 0.9 must be below most_brightness 0.85"):
        QualityOptions(least_brightness=0.9)
