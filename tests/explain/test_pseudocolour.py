"""Colours mean the same on every tile, in order, also for colour-blind readers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import UsageError
from wsi_pipeline.explain.pseudocolour import (
    LEVELS_PER_OD,
    NO_VALUE_GREY,
    colour_density,
    dab_scale,
    dab_table,
    diverging,
    entropy_colours,
    entropy_scale,
    margin_scale,
)  # fmt: skip
from wsi_pipeline.flows.region import DENSITY_PER_OD

VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as seen with a missing kind of cone (Machado, Oliveira and Fernandes 2009, severity 1.0)."""


def seen_lab(rgb: np.ndarray, vision: str) -> np.ndarray:
    share = rgb.reshape(-1, 3) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ np.array(VISION[vision]).T
    linear = np.clip(linear, 0, 1).astype(np.float32)
    return cv2.cvtColor(linear[None], cv2.COLOR_LRGB2Lab)[0]


def test_grey_levels_are_those_of_the_density_map() -> None:
    assert LEVELS_PER_OD == DENSITY_PER_OD


def test_dab_table_is_fixed() -> None:
    table = dab_table()
    assert table[0].tolist() == [255, 255, 255]
    assert table[150].tolist() == [68, 1, 84]  # viridis' first colour
    assert (table[150:] == table[150]).all()
    assert table[1].astype(int) == pytest.approx([253, 231, 37], abs=6)  # and its last
    assert len(np.unique(table[1:151], axis=0)) == 150


@pytest.mark.parametrize("vision", VISION)
def test_sequential_scales_darken_evenly_for_everyone(vision: str) -> None:
    for scale in (dab_scale(), entropy_scale()):
        lightness = seen_lab(scale.table, vision)[:, 0]
        smooth = lightness[::8]
        assert (np.diff(smooth) < 0).all()
        assert smooth[0] - smooth[-1] > 60


@pytest.mark.parametrize("vision", VISION)
def test_signs_of_a_margin_differ_for_everyone(vision: str) -> None:
    values = np.array([[-4.0, -2.0, 2.0, 4.0]])
    blue, light_blue, light_red, red = seen_lab(diverging(values, 4.0), vision)
    assert np.linalg.norm(blue - red) > 50
    assert np.linalg.norm(light_blue - light_red) > 25


def test_diverging_is_symmetric_about_white() -> None:
    limit = 3.5
    lightness = seen_lab(margin_scale(limit).table, "normal")[:, 0]
    assert lightness == pytest.approx(lightness[::-1], abs=2.5)
    assert (np.diff(lightness[:127:4]) > 0).all()
    colours = diverging(np.array([[0.0, 1e-9, -1e-9, np.nan, 99.0, limit, -limit, -np.inf, np.inf]]), limit)[0].tolist()
    assert colours[0] == colours[1] == colours[2] == [255, 255, 255]
    assert colours[3] == [NO_VALUE_GREY] * 3
    assert colours[4] == colours[5] == colours[8]
    assert colours[6] == colours[7]
    assert colours[5][0] > colours[5][2]  # red for
    assert colours[6][2] > colours[6][0]  # blue against


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.1, 8))
def test_a_colour_does_not_depend_on_the_rest_of_the_tile(value: float, other: float, limit: float) -> None:
    alone = diverging(np.array([[value]]), limit)[0, 0]
    among = diverging(np.array([[value, other, np.nan]]), limit)[0, 0]
    assert alone.tolist() == among.tolist()


@pytest.mark.parametrize("limit", [0.0, -2.0, float("nan"), float("inf")])
def test_a_margin_scale_needs_a_range(limit: float) -> None:
    with pytest.raises(UsageError, match="is not a range"):
        margin_scale(limit)


def test_tissue_without_dab_is_told_from_glass() -> None:
    colours = colour_density(np.array([[0, 1, 60], [60, 255, 150]], np.uint8))
    assert colours.shape == (2, 3, 3)
    assert colours.dtype == np.uint8
    assert colours[0, 0].tolist() == [255, 255, 255]
    assert np.abs(colours[0, 1].astype(int) - dab_scale().table[0]).max() <= 6
    assert colours[0, 2].tolist() == colours[1, 0].tolist() == dab_table()[60].tolist()
    assert colours[1, 1].tolist() == colours[1, 2].tolist()


def test_entropy_is_white_where_nothing_was_classified() -> None:
    colours = entropy_colours(np.array([[np.nan, 0.0, 2.0]], np.float32))[0].tolist()
    assert colours == [[255, 255, 255], entropy_scale().table[0].tolist(), entropy_scale().table[255].tolist()]
