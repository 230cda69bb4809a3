"""Every rule by which QuPath takes a GeoJSON file, read back after rounding."""

import gzip
import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.geojson import ObjectColumns, write_cells_geojson, write_tiles_geojson

SHA = "ab" * 32


def read(path: Path) -> list[dict[str, Any]]:
    """Read a file as strictly as QuPath does and return its features."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    assert "null" not in text
    collection = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(collection) == {"type", "features"}
    assert collection["type"] == "FeatureCollection"
    for feature in collection["features"]:
        check(feature)
    features: list[dict[str, Any]] = collection["features"]
    ids = [feature["id"] for feature in features]
    assert len(set(ids)) == len(ids)
    return features


def check(feature: dict[str, Any]) -> None:
    """Assert the rules of one feature."""
    assert feature["type"] == "Feature"
    assert str(uuid.UUID(feature["id"])) == feature["id"]
    assert feature["geometry"]["type"] == "Polygon"
    for ring in feature["geometry"]["coordinates"]:
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(round(value, 2) == value for point in ring for value in point)
    polygon = shapely.geometry.shape(feature["geometry"])
    assert polygon.is_valid
    assert polygon.area > 0
    properties = feature["properties"]
    assert properties["objectType"] in {"tile", "detection"}
    assert set(properties["classification"]) == {"name", "color"}
    colours = [properties["classification"]["color"]] + ([properties["color"]] if "color" in properties else [])
    assert all(len(colour) == 3 and all(0 <= value <= 255 for value in colour) for colour in colours)
    for name, value in properties.get("measurements", {"x": 0}).items():
        assert isinstance(name, str)
        assert isinstance(value, int | float)
        assert math.isfinite(value)


def tiles(count: int) -> ObjectColumns:
    boxes = np.array([[index % 61 * 512 + 13, index // 61 * 256 + 7, 512, 256] for index in range(count)])
    measurements = {"DAB OD mean": np.linspace(0, 1, count, dtype=np.float32), "cells": np.arange(count)}
    return ObjectColumns(
        ["0", "1", "2i", "2", "3"] * (count // 5) + ["free"] * (count % 5), measurements, boxes.reshape(-1, 4)
    )


def stars(count: int, seed: int = 5) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    radii = random.uniform(2, 9, (count, 16, 1))
    return random.uniform(100, 9000, (count, 1, 2)) + radii * np.stack([np.cos(angles), np.sin(angles)], -1)


def test_tiles_keep_place_class_and_measurements(tmp_path: Path) -> None:
    columns = tiles(12)
    assert write_tiles_geojson(tmp_path / "tiles.geojson.gz", columns, SHA) == [tmp_path / "tiles.geojson.gz"]
    features = read(tmp_path / "tiles.geojson.gz")
    assert len(features) == 12
    tile = features[3]
    assert tile["geometry"]["coordinates"] == [[[1549, 7], [2061, 7], [2061, 263], [1549, 263], [1549, 7]]]
    assert tile["properties"]["objectType"] == "tile"
    assert tile["properties"]["classification"] == {"name": "Tile: mostly 2+", "color": [253, 141, 60]}
    assert tile["properties"]["measurements"] == {"DAB OD mean": 0.2727273, "cells": 3}
    assert "name" not in tile["properties"]


def test_incomplete_2_counts_as_2_and_keeps_its_colour(tmp_path: Path) -> None:
    write_cells_geojson(tmp_path / "t.geojson.gz", ObjectColumns(["0", "1", "2i"], {}, None, stars(3)), SHA)
    properties = read(tmp_path / "t.geojson.gz")[2]["properties"]
    assert properties["classification"] == {"name": "Tumor: 2+", "color": [253, 141, 60]}
    assert properties["color"] == [188, 128, 189]
    assert properties["name"] == "2+ incomplete"


def test_tiles_of_two_grids_in_one_place_are_two_objects(tmp_path: Path) -> None:
    write_tiles_geojson(tmp_path / "t.geojson.gz", tiles(3), SHA)
    write_tiles_geojson(tmp_path / "n.geojson.gz", tiles(3), SHA, kind="network tile")
    ids = [{feature["id"] for feature in read(tmp_path / name)} for name in ("t.geojson.gz", "n.geojson.gz")]
    assert not ids[0] & ids[1]


def test_unmeasured_values_are_left_out(tmp_path: Path) -> None:
    measurements = {"a": np.array([1.5, np.nan, np.inf]), "b": np.array([np.nan, np.nan, 2.0])}
    boxes = np.array([[0, 0, 5, 3], [5, 0, 5, 3], [10, 0, 5, 3]])
    write_tiles_geojson(tmp_path / "t.geojson.gz", ObjectColumns(["0", "0", "3"], measurements, boxes), SHA)
    found = [feature["properties"].get("measurements") for feature in read(tmp_path / "t.geojson.gz")]
    assert found == [{"a": 1.5}, None, {"b": 2.0}]


def test_ids_depend_on_slide_and_place_only(tmp_path: Path) -> None:
    columns = tiles(7)
    fewer = ObjectColumns(columns.classes[2:], {}, columns.boxes_l0[2:] if columns.boxes_l0 is not None else None)
    ids = []
    for name, objects, sha in (("a", columns, SHA), ("b", fewer, SHA), ("c", columns, "cd" * 32)):
        write_tiles_geojson(tmp_path / f"{name}.geojson.gz", objects, sha)
        ids.append([feature["id"] for feature in read(tmp_path / f"{name}.geojson.gz")])
    assert ids[0][2:] == ids[1]
    assert not set(ids[0]) & set(ids[2])


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiles_geojson(tmp_path / f"{name}.geojson.gz", tiles(9), SHA)
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()


def test_files_hold_at_most_the_limit(tmp_path: Path) -> None:
    paths = write_tiles_geojson(tmp_path / "tiles.geojson.gz", tiles(23), SHA, limit=10)
    assert [path.name for path in paths] == [f"tiles-00{part}.geojson.gz" for part in (1, 2, 3)]
    parts = [read(path) for path in paths]
    assert [len(part) for part in parts] == [10, 10, 3]
    places = [feature["geometry"]["coordinates"][0][0][0] for part in parts for feature in part]
    assert places == [index * 512 + 13 for index in range(23)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in paths]


def test_more_objects_than_one_batch(tmp_path: Path) -> None:
    write_tiles_geojson(tmp_path / "t.geojson.gz", tiles(4097), SHA)
    assert [feature["properties"]["measurements"]["cells"] for feature in read(tmp_path / "t.geojson.gz")] == list(
        range(4097)
    )


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(tmp_path: Path, count: int) -> None:
    write_tiles_geojson(tmp_path / "t.geojson.gz", tiles(count), SHA)
    write_cells_geojson(tmp_path / "c.geojson.gz", ObjectColumns(["3"] * count, {}, None, stars(count)), SHA)
    assert len(read(tmp_path / "t.geojson.gz")) == len(read(tmp_path / "c.geojson.gz")) == count


def test_cells_keep_their_outline(tmp_path: Path) -> None:
    polygons = stars(30)
    [path] = write_cells_geojson(tmp_path / "cells.geojson.gz", ObjectColumns(["3"] * 30, {}, None, polygons), SHA)
    for feature, polygon in zip(read(path), polygons, strict=True):
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["classification"]["name"] == "Tumor: 3+"
        np.testing.assert_allclose(feature["geometry"]["coordinates"][0][:-1], polygon, atol=0.00501)


def test_broken_outlines_are_mended(tmp_path: Path) -> None:
    bow_tie = [[10, 10], [14, 13], [14, 10], [10, 13]]
    line = [[20, 20], [22, 22], [24, 24], [26, 26]]
    point = [[30.001, 30.002]] * 4
    good = [[40, 40], [44, 40], [44, 43], [40, 43]]
    objects = ObjectColumns(["0", "1", "2", "3"], {}, None, np.array([bow_tie, line, point, good], np.float64))
    [path] = write_cells_geojson(tmp_path / "cells.geojson.gz", objects, SHA)
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in read(path)]
    assert [shape.area for shape in shapes] == [12, 1, 1, 12]
    centroids = [(shape.centroid.x, shape.centroid.y) for shape in shapes]
    np.testing.assert_allclose(centroids, [(12, 11.5), (23, 23), (30, 30), (42, 41.5)])


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 9), st.integers(0, 10_000), st.sampled_from([0.01, 0.05, 3.0]))
def test_any_outline_is_valid_after_rounding(
    tmp_path_factory: pytest.TempPathFactory, points: int, seed: int, spread: float
) -> None:
    polygons = np.random.default_rng(seed).normal(50_000.123, spread, (11, points, 2))
    path = tmp_path_factory.mktemp("cells") / "c.geojson.gz"
    write_cells_geojson(path, ObjectColumns(["1"] * 11, {}, None, polygons), SHA)
    assert len(read(path)) == 11


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (ObjectColumns(["0"]), "either boxes or polygons"),
        (ObjectColumns(["0"], {}, np.zeros((1, 4), int), np.zeros((1, 3, 2))), "either boxes or polygons"),
        (ObjectColumns(["0"], {"a": np.zeros(2)}, np.ones((1, 4), int)), "columns of other lengths"),
        (ObjectColumns(["0"], {}, np.ones((2, 4), int)), "columns of other lengths"),
        (ObjectColumns(["0"], {}, np.array([[3, 4, 0, 5]])), r"a tile has no area: \[3, 4, 0, 5\]"),
        (ObjectColumns(["4"], {}, np.ones((1, 4), int)), "class '4': has no colour"),
        (ObjectColumns(["0"], {}, None, np.full((1, 4, 2), np.nan)), "a coordinate that is not a number"),
        (ObjectColumns(["0"], {}, None, np.ones((1, 2, 2))), r"shape \(1, 2, 2\)"),
    ],
)
def test_bad_columns_are_refused_and_leave_no_file(tmp_path: Path, objects: ObjectColumns, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        write_tiles_geojson(tmp_path / "t.geojson.gz", objects, SHA)
    assert not list(tmp_path.iterdir())


def test_name_must_end_as_qupath_expects(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must end in \.geojson\.gz"):
        write_tiles_geojson(tmp_path / "tiles.json", tiles(1), SHA)
