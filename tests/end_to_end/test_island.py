"""One island of 3+ in tissue without stain is found where it is: in maps, levels, objects and tables.

The slide is neither square nor symmetric and its pixels are not square, so a swapped axis, a mirrored map or a half
pixel too many cannot hide.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.slow

RED = (189, 0, 38)
"""Colour of class 3 in the class map."""
TILE = 256
MAP_PX = 8


@pytest.fixture(scope="module")
def truth(island_slide: Path) -> dict[str, Any]:
    return json.loads(island_slide.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(island_slide: Path, score: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    outcome = score(island_slide, tmp_path_factory.mktemp("island_run") / "out", "--set", "tiling.region_tiles=2")
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def strong(truth: dict[str, Any]) -> np.ndarray:
    """Return the true places (N, 2) of the 3+ cells, level-0 px: x, y."""
    cells = truth["cells"]
    chosen = np.array(cells["class"]) == "3"
    return np.stack([cells["x_l0"], cells["y_l0"]], axis=1)[chosen]


def centre(mask: np.ndarray, px_l0: float) -> np.ndarray:
    """Return the middle (x, y) of the true pixels of `mask` (H, W), level-0 px."""
    rows, columns = np.nonzero(mask)
    return (np.array([columns.mean(), rows.mean()]) + 0.5) * px_l0


def test_the_slide_is_what_the_test_needs(run: Any, truth: dict[str, Any], strong: np.ndarray) -> None:
    result = run.result
    assert (result["slide"]["mpp_x"], result["slide"]["mpp_y"]) == pytest.approx((0.25, 0.26), abs=1e-4)
    assert (result["score"], result["category"]) == ("3+", "positive")
    assert result["shares"]["3+"] == pytest.approx(truth["shares"]["3+"], abs=5)
    middle, size = strong.mean(axis=0), np.array([truth["width"], truth["height"]])
    for mirrored in (size * [1, 0] + middle * [-1, 1], size * [0, 1] + middle * [1, -1], middle[::-1]):
        assert np.abs(mirrored - middle).max() > 20 * MAP_PX


def test_in_the_class_map_at_every_level(run: Any, strong: np.ndarray) -> None:
    levels = run.levels("her2_class")
    assert len(levels) >= 3
    for step, level in enumerate(levels):
        red = (level == RED).all(axis=-1)
        px_l0 = MAP_PX * 2**step
        assert red.any()
        np.testing.assert_allclose(centre(red, px_l0), strong.mean(axis=0), atol=px_l0)
        rows, columns = np.nonzero(red)
        low, high = strong.min(axis=0), strong.max(axis=0)
        cell_l0 = 5.0 / 0.25  # cells are painted up to 5 um around their nucleus
        assert (columns.min() + 1) * px_l0 > low[0] - cell_l0 - px_l0
        assert columns.max() * px_l0 < high[0] + cell_l0 + px_l0
        assert (rows.min() + 1) * px_l0 > low[1] - cell_l0 - px_l0
        assert rows.max() * px_l0 < high[1] + cell_l0 + px_l0


def test_in_the_density_map_at_every_level(run: Any, strong: np.ndarray, island_slide: Path) -> None:
    pixels = tifffile.imread(island_slide, key=0).astype(np.float32)
    brown = np.log10(np.maximum(pixels[..., 0], 1) / np.maximum(pixels[..., 2], 1))  # DAB takes blue, hematoxylin red
    for step, level in enumerate(run.levels("dab_density")):
        px_l0 = MAP_PX * 2**step
        dense = np.where(level > 15, level, 0).astype(float)  # more than 0.15 OD is membrane: cytoplasm has 0.06
        np.testing.assert_allclose(weighted(dense, px_l0), strong.mean(axis=0), atol=2 * px_l0)
        rows, columns = brown.shape[0] // px_l0, brown.shape[1] // px_l0
        blocks = brown[: rows * px_l0, : columns * px_l0].reshape(rows, px_l0, columns, px_l0).mean(axis=(1, 3))
        shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
        alike = [np.corrcoef(np.roll(blocks, shift, (0, 1)).ravel(), level[:rows, :columns].ravel())[0, 1]
                 for shift in shifts]  # fmt: skip
        assert shifts[int(np.argmax(alike))] == (0, 0)
        assert max(alike) > 0.7


def test_in_the_share_map_at_every_level(run: Any, truth: dict[str, Any], strong: np.ndarray) -> None:
    cells = truth["cells"]
    tile = (np.array(cells["y_l0"]) // TILE).astype(int), (np.array(cells["x_l0"]) // TILE).astype(int)
    shape = (-(-truth["height"] // TILE), -(-truth["width"] // TILE))
    total, positive = np.zeros(shape), np.zeros(shape)
    np.add.at(total, tile, 1)
    np.add.at(positive, tile, np.array(cells["class"]) == "3")
    true = np.divide(100 * positive, total, out=np.zeros(shape), where=total > 0)
    levels = run.levels("positive_share")
    assert levels[0].shape == shape
    for step, level in enumerate(levels):
        px_l0 = TILE * 2**step
        found = np.where(level > 0, (level.astype(float) - 1) / 2, 0)
        np.testing.assert_allclose(weighted(found, px_l0), weighted(true, TILE), atol=px_l0 / 2)
    found = np.where(levels[0] > 0, (levels[0].astype(float) - 1) / 2, 0)
    beside = np.asarray(cv2.dilate((true > 0).astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
    assert found[~beside].max() < 10, "the rest of the slide is unstained"
    assert found[(true > 75) & (total > 10)].min() > 60
    tiles = run.table("tiles.parquet")
    known = tiles["tumour_cells"] > 0
    place = tiles["y_l0"][known] // TILE, tiles["x_l0"][known] // TILE
    np.testing.assert_array_equal(levels[0][place], 1 + np.rint(2 * tiles["positive_percent"][known]))
    assert (levels[0] > 0).sum() == known.sum()


def weighted(level: np.ndarray, px_l0: float) -> np.ndarray:
    """Return the middle (x, y) of the values of `level` (H, W), level-0 px."""
    rows, columns = np.mgrid[: level.shape[0], : level.shape[1]]
    return np.array([(level * (columns + 0.5)).sum(), (level * (rows + 0.5)).sum()]) / level.sum() * px_l0


def objects(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return json.load(file)["features"]


def test_in_the_tile_objects(run: Any, truth: dict[str, Any], strong: np.ndarray) -> None:
    cells = truth["cells"]
    x, y, is_strong = np.array(cells["x_l0"]), np.array(cells["y_l0"]), np.array(cells["class"]) == "3"
    seen = 0
    for tile in objects(run.out / "tiles.geojson.gz"):
        ring = np.array(tile["geometry"]["coordinates"][0])
        (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
        assert right <= truth["width"]
        assert bottom <= truth["height"]
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        if inside.sum() < 8:
            continue
        seen += 1
        share = 100 * is_strong[inside].mean()
        assert tile["properties"]["measurements"]["3+ %"] == pytest.approx(share, abs=15)
        if abs(share - 50) > 15:
            assert (tile["properties"]["classification"]["name"] == "Tile: mostly 3+") == (share > 50)
    assert seen > 10


def test_in_the_cell_objects_and_the_cell_table(run: Any, strong: np.ndarray, truth: dict[str, Any]) -> None:
    table = run.table("cells.parquet")
    chosen = (table["class"] == "3") & table["tumour"]
    in_table = np.stack([table["x_l0"], table["y_l0"]], axis=1)[chosen]
    drawn = [
        o for o in objects(run.out / "cells.geojson.gz") if o["properties"]["classification"]["name"] == "Tumor: 3+"
    ]
    in_objects = np.array([np.array(o["geometry"]["coordinates"][0])[:-1].mean(axis=0) for o in drawn])
    assert len(in_objects) == len(in_table)
    for found in (in_table, in_objects):
        nearest = np.hypot(*(found[:, None] - strong[None]).transpose(2, 0, 1)).min(axis=1)
        assert np.median(nearest) < MAP_PX, "nuclei are where they were drawn"
        np.testing.assert_allclose(found.mean(axis=0), strong.mean(axis=0), atol=MAP_PX)
    assert np.array_equal(table["x_absolute_l0"], table["x_l0"])
    assert (table["x_l0"] < truth["width"]).all()
    assert (table["y_l0"] < truth["height"]).all()
    assert table["x_l0"].max() > truth["height"], "x is the long axis"
