"""Stained nuclei are told from membranes, cytoplasm and dust, and counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.compartment import NuclearStainOptions, StainedArea, find_bodies, smoothed, why_nuclear

OPTIONS = NuclearStainOptions()
MPP = Mpp(0.5, 0.52)


def blank() -> np.ndarray:
    return np.full((170, 231), 0.03)


def away(plane: np.ndarray, x: float, y: float) -> np.ndarray:
    rows, columns = np.mgrid[: plane.shape[0], : plane.shape[1]]
    return np.hypot((columns - x) * MPP.x, (rows - y) * MPP.y)


def disc(plane: np.ndarray, x: float, y: float, radius_um: float, od: float) -> None:
    plane[away(plane, x, y) < radius_um] = od


def seen(plane: np.ndarray) -> np.ndarray:
    return smoothed(gaussian_filter(plane, 0.4).astype(np.float32), MPP)


def test_a_stained_nucleus_is_found_where_it_is_and_as_large_as_it_is() -> None:
    plane = blank()
    disc(plane, 60.0, 47.0, 3.6, 0.9)
    disc(plane, 160.5, 120.25, 4.4, 0.4)
    found = find_bodies(seen(plane), MPP, OPTIONS)
    np.testing.assert_allclose(found.x, [60.0, 160.5], atol=0.6)
    np.testing.assert_allclose(found.y, [47.0, 120.25], atol=0.6)
    np.testing.assert_allclose(found.area_um2, np.pi * np.array([3.6, 4.4]) ** 2, rtol=0.2)


@pytest.mark.parametrize("name", ["ring", "in cytoplasm", "pale", "sheet", "speck", "at the edge", "net"])
def test_what_is_no_stained_nucleus(name: str) -> None:
    plane = blank()
    distance = away(plane, 110.0, 80.0)
    if name == "ring":
        plane[np.abs(distance - 5.5) < 1.1] = 1.2
    elif name == "in cytoplasm":
        plane[distance < 8.5] = 0.35
        plane[distance < 3.5] = 0.7
    elif name == "pale":
        plane[distance < 4] = 0.17
    elif name == "sheet":
        plane[distance < 12] = 0.8
    elif name == "speck":
        plane[distance < 1.4] = 1.5
    elif name == "at the edge":
        disc(plane, 2.0, 80.0, 4.0, 0.9)
    else:
        for x in range(40, 200, 21):
            plane[np.abs(away(plane, x, 80.0) - 5.3) < 1.2] = 1.0
    assert len(find_bodies(seen(plane), MPP, OPTIONS).x) == 0


def test_nothing_stained_has_no_bodies() -> None:
    assert find_bodies(np.zeros((33, 47), np.float32), MPP, OPTIONS).area_um2.shape == (0,)


@pytest.mark.parametrize(
    ("area", "tumour", "membranes", "nuclear"),
    [
        (StainedArea(100, 5000, 8000), 700, 40, True),
        (StainedArea(100, 5000, 17000), 700, 40, False),  # 29 % of the stained area
        (StainedArea(100, 5000, 8000), 700, 151, False),  # 39.8 % of what is stained are nuclei
        (StainedArea(9, 450, 500), 20, 0, False),  # nine are no evidence
        (StainedArea(10, 450, 500), 490, 0, True),  # 2 % of the cells
        (StainedArea(10, 450, 500), 491, 0, False),
        (StainedArea(0, 0, 500), 300, 0, False),
        (StainedArea(0, 0, 0), 300, 0, False),
    ],
)
def test_how_much_makes_a_stain_nuclear(area: StainedArea, tumour: int, membranes: int, nuclear: bool) -> None:
    reason = why_nuclear(area, tumour, membranes, OPTIONS)
    assert bool(reason) is nuclear
    if nuclear:
        assert reason.startswith("the stain is nuclear: ")


def test_the_reason_says_the_figures() -> None:
    reason = why_nuclear(StainedArea(143, 5300, 7100), 696, 38, OPTIONS)
    assert "143 stained nuclei hold 75 % of the stained area" in reason
    assert "beside 696 tumour cells of which 38 have a stained membrane" in reason
    assert "tumour" not in why_nuclear(StainedArea(143, 5300, 7100), 0, 0, OPTIONS)
