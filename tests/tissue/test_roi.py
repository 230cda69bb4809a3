"""Drawn regions from GeoJSON."""

from __future__ import annotations

import gzip
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.errors import RoiError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.tissue.roi import Roi, read_roi

SIZE = Size(613, 389)
L_SHAPE = [[50, 40], [310, 40], [310, 120], [140, 120], [140, 300], [50, 300], [50, 40]]
HOLE = [[70, 60], [100, 60], [100, 90], [70, 90], [70, 60]]


def _polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def _feature(geometry: dict[str, Any] | None, name: str | None = None) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def _write(folder: Path, document: Any, name: str = "drawn.geojson") -> Path:
    path = folder / name
    raw = json.dumps(document).encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


L_AREA = 260 * 80 + 90 * 180


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"type": "FeatureCollection", "features": [_feature(_polygon(L_SHAPE, HOLE), "Tumor")]}, "a.geojson"),
        ([_feature(_polygon(L_SHAPE, HOLE))], "a.json"),
        (_feature(_polygon(L_SHAPE, HOLE), "Tumor"), "a b é.geojson.gz"),
        (_polygon(L_SHAPE, HOLE), "a.geojson"),
        ({"type": "MultiPolygon", "coordinates": [[L_SHAPE, HOLE]]}, "a.geojson"),
        ({"type": "GeometryCollection", "geometries": [_polygon(L_SHAPE, HOLE)]}, "a.geojson"),
    ],
)
def test_every_shape_of_export_is_read(tmp_path: Path, document: Any, name: str) -> None:
    roi = read_roi(_write(tmp_path, document, name), SIZE)
    assert roi.area_l0 == L_AREA - 900
    x, y = np.array([60.0, 80.0, 300.0, 300.0, 120.0]), np.array([50.0, 80.0, 100.0, 200.0, 290.0])
    assert roi.contains(x, y).tolist() == [True, False, True, False, True]


def test_ignored_areas_are_cut_out_and_counted(tmp_path: Path) -> None:
    ignored = _polygon([[50, 40], [90, 40], [90, 140], [50, 140], [50, 40]])
    document = [_feature(_polygon(L_SHAPE), "Tumor"), _feature(ignored, "Ignore*")]
    roi = read_roi(_write(tmp_path, document), SIZE)
    assert roi.area_l0 == L_AREA - 4000
    assert roi.summary() == {"drawn": 1, "ignored": 1, "skipped": 0, "repaired": 0, "area_px2_l0": L_AREA - 4000}


@pytest.mark.parametrize("name", ["Ignore*", "Ignore", "ignore*"])
def test_with_ignored_areas_only_everything_else_is_scored(tmp_path: Path, name: str) -> None:
    roi = read_roi(_write(tmp_path, [_feature(_polygon(L_SHAPE), name)]), SIZE)
    assert roi.area_l0 == SIZE.width * SIZE.height - L_AREA
    assert roi.drawn == 0


def test_newer_classification_names_are_understood(tmp_path: Path) -> None:
    feature = _feature(_polygon(L_SHAPE))
    feature["properties"]["classification"] = {"names": ["Ignore*"]}
    assert read_roi(_write(tmp_path, feature), SIZE).ignored == 1


def test_overlapping_areas_count_once_and_the_slide_cuts(tmp_path: Path) -> None:
    over = _polygon([[500, 300], [700, 300], [700, 500], [500, 500], [500, 300]])
    roi = read_roi(_write(tmp_path, [_feature(over), _feature(over)]), SIZE)
    assert roi.area_l0 == 113 * 89


def test_points_and_lines_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}
    document = [_feature(_polygon(L_SHAPE)), _feature(line), _feature({"type": "Point", "coordinates": [1, 2]})]
    with caplog.at_level(logging.WARNING):
        roi = read_roi(_write(tmp_path, document), SIZE)
    assert roi.skipped == 2
    assert "2 points, lines" in caplog.text


def test_a_polygon_that_crosses_itself_is_repaired(tmp_path: Path) -> None:
    bow_tie = _polygon([[100, 100], [200, 200], [200, 100], [100, 200], [100, 100]])
    roi = read_roi(_write(tmp_path, bow_tie), SIZE)
    assert roi.repaired == 1
    assert roi.area_l0 == pytest.approx(5000)
    assert roi.contains(np.array([110.0, 150.0]), np.array([150.0, 110.0])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "is not JSON"),
        (b"\x1f\x8bbroken", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"a": 1}', "not GeoJSON"),
        (b"[3]", "not GeoJSON"),
        (b"[]", "no polygon"),
        (b'{"type": "Point", "coordinates": [1, 2]}', "no polygon"),
        (b'{"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}', "broken coordinates"),
        (b'{"type": "Polygon", "coordinates": [[[1, "a"], [3, 4], [5, 6], [1, 2]]]}', "broken coordinates"),
        (b'{"type": "Polygon", "coordinates": [[[1, NaN], [3, 4], [5, 6], [1, 2]]]}', "not a finite number"),
        (b'{"type": "Polygon", "coordinates": []}', "without coordinates"),
        (b'{"type": "Polygon", "coordinates": [[[900, 10], [990, 10], [950, 90], [900, 10]]]}', "613 x 389 px"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.geojson"
    path.write_bytes(content)
    with pytest.raises(RoiError, match=words) as caught:
        read_roi(path, SIZE)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_nothing_left_are_named(tmp_path: Path) -> None:
    with pytest.raises(RoiError, match="cannot be read"):
        read_roi(tmp_path / "none.geojson", SIZE)
    document = [_feature(_polygon(L_SHAPE)), _feature(_polygon(L_SHAPE), "Ignore*")]
    with pytest.raises(RoiError, match="leaves nothing"):
        read_roi(_write(tmp_path, document), SIZE)


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Roi:
    """Return a star with a hole, on coordinates that are not whole numbers."""
    angle = np.linspace(0, 2 * np.pi, 25)[:-1]
    radius = np.where(np.arange(24) % 2, 70.3, 180.7)
    star = np.column_stack([300.1 + 1.4 * radius * np.cos(angle), 190.6 + radius * np.sin(angle)])
    hole = np.array([[280.2, 170.9], [320.5, 175.3], [301.7, 205.1]])
    rings = [[*ring.tolist(), ring[0].tolist()] for ring in (star, hole)]
    return read_roi(_write(tmp_path_factory.mktemp("roi"), _polygon(*rings)), SIZE)


@given(
    x=st.integers(-50, 500),
    y=st.integers(-50, 300),
    width=st.integers(1, 200),
    height=st.integers(1, 150),
    downsample=st.sampled_from([1.0, 2.0, 3.7, 4.00012, 16.0]),
)
def test_a_pixel_is_inside_when_its_centre_is(
    wild: Roi, x: int, y: int, width: int, height: int, downsample: float
) -> None:
    mask = wild.rasterize(Box(x, y, width, height), downsample)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    centre_x, centre_y = x + (columns + 0.5) * downsample, y + (rows + 0.5) * downsample
    assert mask.shape == (int(np.ceil(height / downsample)), int(np.ceil(width / downsample)))
    np.testing.assert_array_equal(mask, wild.contains(centre_x.ravel(), centre_y.ravel()).reshape(mask.shape))


@given(step_x=st.integers(7, 300), step_y=st.integers(7, 300), downsample=st.sampled_from([1, 4]))
def test_parts_equal_the_whole(wild: Roi, step_x: int, step_y: int, downsample: int) -> None:
    whole = wild.rasterize(Box(0, 0, 4 * 153, 4 * 97), downsample)
    parts = np.zeros_like(whole)
    for top in range(0, whole.shape[0], step_y):
        for left in range(0, whole.shape[1], step_x):
            part = parts[top : top + step_y, left : left + step_x]
            box = Box(left, top, part.shape[1], part.shape[0]).scaled(downsample)
            part[:] = wild.rasterize(box, downsample)
    np.testing.assert_array_equal(parts, whole)
    assert whole.sum() * downsample**2 == pytest.approx(wild.area_l0, rel=0.02)


def test_a_region_travels_to_a_worker(wild: Roi) -> None:
    copy = pickle.loads(pickle.dumps(wild))  # noqa: S301 - our own bytes
    box = Box(100, 50, 300, 200)
    np.testing.assert_array_equal(copy.rasterize(box, 2.0), wild.rasterize(box, 2.0))
    assert copy.summary() == wild.summary()
