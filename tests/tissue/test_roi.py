"""Drawn regions from GeoJSON."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
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
    counts = {"drawn": 1, "ignored": 1, "skipped": 0, "repaired": 0, "flat": 0, "left_out": {}}
    assert roi.summary() == counts | {"area_px2_l0": L_AREA - 4000}
    assert roi.warnings() == []


@pytest.mark.parametrize("name", ["Ignore*", "Ignore", "ignore*"])
def test_with_ignored_areas_only_everything_else_is_scored(tmp_path: Path, name: str) -> None:
    roi = read_roi(_write(tmp_path, [_feature(_polygon(L_SHAPE), name)]), SIZE)
    assert roi.area_l0 == SIZE.width * SIZE.height - L_AREA
    assert roi.drawn == 0


@pytest.mark.parametrize(
    "classification",
    [
        "Ignore*", "Tumor: Ignore*", "Ignore*: Tumor", "Tumor:ignore* :2+", "Ignore",
        {"name": "Ignore*"}, {"name": "Tumor: Ignore*", "color": [1, 2, 3]}, {"name": "Ignore*: x", "colorRGB": -1},
        {"names": ["Ignore*"]}, {"names": ["Tumor", "Ignore*"]}, {"names": ["Tumor", "Stroma: Ignore*"]},
        {"name": "Tumor", "names": ["Tumor", "Ignore*"]}, {"name": None, "names": ["Tumor", None, 3, "Ignore*"]},
        ["Tumor", "Ignore*"],
    ],
)  # fmt: skip
def test_every_part_of_a_class_is_looked_at_for_ignore(tmp_path: Path, classification: Any) -> None:
    ignored = _feature(_polygon([[50, 40], [90, 40], [90, 140], [50, 140], [50, 40]]))
    ignored["properties"] |= {"classification": classification, "isLocked": True}
    roi = read_roi(_write(tmp_path, [_feature(_polygon(L_SHAPE), "Tumor"), ignored]), SIZE)
    assert (roi.drawn, roi.ignored, roi.area_l0) == (1, 1, L_AREA - 4000)


@pytest.mark.parametrize(
    "properties",
    [
        None, {}, 3, {"classification": None}, {"classification": 7}, {"classification": {"name": 4, "names": "x"}},
        {"objectType": None}, {"objectType": "Annotation "}, {"object_type": "annotation"},
        {"classification": {"name": "Ignored region"}}, {"classification": {"names": []}},
        {"name": "Ignore*", "metadata": {"a": "b"}, "isEllipse": True},
    ],
)  # fmt: skip
def test_what_is_not_ignored_is_drawn(tmp_path: Path, properties: Any) -> None:
    feature = {"type": "Feature", "geometry": _polygon(L_SHAPE) | {"isEllipse": True}, "properties": properties}
    roi = read_roi(_write(tmp_path, {"type": "FeatureCollection", "features": [feature]}), SIZE)
    assert (roi.drawn, roi.ignored, roi.left_out) == (1, 0, {})


def _found(kind: str, x: int) -> dict[str, Any]:
    square = [[x, 300], [x + 8, 300], [x + 8, 308], [x, 308], [x, 300]]
    return {"type": "Feature", "geometry": _polygon(square), "properties": {"objectType": kind}}


def test_objects_that_nobody_drew_are_left_out_and_counted(tmp_path: Path) -> None:
    old = _found("", 400) | {"id": "PathDetectionObject", "properties": {"isLocked": False}}
    nested = {"type": "FeatureCollection", "features": [_found("tile", 300), _found("tma_core", 320)]}
    document = [_feature(_polygon(L_SHAPE)), *(_found("cell", 20 * n) for n in range(13)), old, nested]
    roi = read_roi(_write(tmp_path, document), SIZE)
    assert (roi.drawn, roi.area_l0) == (1, L_AREA)
    assert roi.left_out == {"cell": 13, "detection": 1, "tile": 1, "tma_core": 1}
    words = "13 cells, 1 detection, 1 tile, 1 tma core in the drawn region's file were left out: only annotations count"
    assert roi.warnings() == [words]


def test_found_objects_alone_are_no_drawing(tmp_path: Path) -> None:
    with pytest.raises(RoiError, match="has no drawn area, only 40 cells"):
        read_roi(_write(tmp_path, [_found("cell", 4 * n) for n in range(40)]), SIZE)


FLAT: list[list[list[float]]] = [
    [[0, 0], [10, 10], [0, 0]], [[1, 2], [3, 4]], [[5, 5]], [], [[7, 7], [7, 7], [7, 7], [7, 7]],
    [[0, 0], [10, 10], [20, 20], [0, 0]], [[3, 300], [90, 300], [40, 300], [3, 300]],
]  # fmt: skip


@pytest.mark.parametrize("ring", FLAT)
def test_a_polygon_without_area_is_said_to_be_one(tmp_path: Path, ring: list[list[float]]) -> None:
    with pytest.raises(RoiError, match="has no area: its polygons have fewer than three different points"):
        read_roi(_write(tmp_path, _feature(_polygon(ring), "Tumor")), SIZE)
    several = {"type": "MultiPolygon", "coordinates": [[ring], [L_SHAPE, HOLE, ring], []]}
    roi = read_roi(_write(tmp_path, _feature(several)), SIZE)
    assert (roi.drawn, roi.flat, roi.skipped, roi.area_l0) == (1, 2, 0, L_AREA - 900)
    assert roi.warnings() == ["polygons of the drawn region without any area, left out: 2"]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"), lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"), lambda text: text.encode("utf-32"),
        lambda text: gzip.compress(text.encode("utf-8-sig")),
    ],
)  # fmt: skip
def test_every_encoding_of_json_is_read_and_rings_are_closed(tmp_path: Path, encode: Any) -> None:
    path = tmp_path / "drawn.geojson"
    path.write_bytes(encode(json.dumps(_feature(_polygon(L_SHAPE[:-1], HOLE[:-1]), "Tumör µ"), ensure_ascii=False)))
    assert read_roi(path, SIZE).area_l0 == L_AREA - 900


def test_overlapping_areas_count_once_and_the_slide_cuts(tmp_path: Path) -> None:
    over = _polygon([[500, 300], [700, 300], [700, 500], [500, 500], [500, 300]])
    roi = read_roi(_write(tmp_path, [_feature(over), _feature(over)]), SIZE)
    assert roi.area_l0 == 113 * 89


def test_points_and_lines_are_skipped_with_a_warning(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [9, 9]]}
    point = {"type": "Point", "coordinates": [1, 2]}
    both = {"type": "GeometryCollection", "geometries": [line, None, 3, point]}
    odd = [{"type": ["Polygon"], "coordinates": []}, {"type": "GeometryCollection", "geometries": 3}]
    document = [_feature(geometry) for geometry in (_polygon(L_SHAPE), line, point, both, None, *odd)]
    roi = read_roi(_write(tmp_path, document), SIZE)
    assert (roi.drawn, roi.skipped) == (1, 6)
    assert roi.warnings() == ["6 points, lines or empty features of the drawn region were left out"]


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
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"[" * 900 + b"]" * 900, "no polygon|nested too deeply"),
        (b"[" * 90000, "is not JSON|nested too deeply"),
        (b'{"type": "FeatureCollection", "features": {"a": 1}}', "not GeoJSON"),
        (b'{"type": "Polygon", "coordinates": {"a": 1}}', "without coordinates"),
        (b'{"type": "MultiPolygon", "coordinates": [3]}', "without coordinates"),
        (b'{"type": "Polygon", "coordinates": [3]}', "no list of"),
        (b'{"type": "Polygon", "coordinates": [[[1], [3, 4], [5, 6]]]}', "no list of"),
        (b'{"type": "Polygon", "coordinates": [[[1, "2"], [3, 4], [5, 6], [1, 2]]]}', "no number"),
        (b'{"type": "Polygon", "coordinates": [[[1, null], [3, 4], [5, 6], [1, 2]]]}', "no number"),
        (b'{"type": "Polygon", "coordinates": [[[1, true], [3, 4], [5, 6], [1, 2]]]}', "no number"),
        (b'{"type": "Polygon", "coordinates": [[[-Infinity, 9], [3, 4], [5, 6], [1, 2]]]}', "not a finite number"),
        (b'{"type": "Polygon", "coordinates": [[[1e300, 9], [3, 4], [5, 6], [1, 2]]]}', "far beyond any slide"),
        (b'{"type": "Polygon", "coordinates": [[[1' + b"0" * 400 + b", 9], [3, 4], [5, 6]]]}", "far beyond any slide"),
        (b'{"type": "Polygon", "coordinates": [[[1, "a"], [3, 4], [5, 6], [1, 2]]]}', "broken coordinates"),
        (b'{"type": "Polygon", "coordinates": [[[1, NaN], [3, 4], [5, 6], [1, 2]]]}', "not a finite number"),
        (b'{"type": "Polygon"}', "not GeoJSON"),
        (b'{"type": "Polygon", "coordinates": null}', "without coordinates"),
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


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.geojson")
    for path in (tmp_path, tmp_path / "pipe.geojson"):
        with pytest.raises(RoiError, match="is no file"):
            read_roi(path, SIZE)


_numbers = st.one_of(
    st.integers(-700, 700), st.floats(), st.integers(), st.text(max_size=3), st.none(), st.booleans(), st.floats(0, 613)
)
_rings = st.lists(st.lists(_numbers, max_size=4), max_size=7)
_geometries = st.one_of(
    st.none(),
    st.builds(lambda rings: {"type": "Polygon", "coordinates": rings}, st.lists(_rings, max_size=3)),
    st.builds(
        lambda parts: {"type": "MultiPolygon", "coordinates": parts}, st.lists(st.lists(_rings, max_size=2), max_size=3)
    ),
)
_properties = st.recursive(
    st.one_of(st.none(), st.integers(), st.sampled_from(["Ignore*", "Tumor: Ignore*", "annotation", "cell"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["classification", "name", "names", "objectType"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(_geometries, _properties), max_size=4))
def test_any_file_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[Any, Any]]
) -> None:
    features = [{"type": "Feature", "geometry": geometry, "properties": properties} for geometry, properties in found]
    path = tmp_path_factory.getbasetemp() / "any.geojson"
    path.write_text(json.dumps(features), encoding="utf-8")
    with suppress(RoiError):
        roi = read_roi(path, SIZE)
        assert 0 < roi.area_l0 <= SIZE.width * SIZE.height
        assert roi.drawn + roi.ignored > 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(5, 170), min_size=3, max_size=9), st.booleans(), st.booleans())
def test_a_ring_has_its_area_closed_or_not_in_either_direction(
    tmp_path_factory: pytest.TempPathFactory, radii: list[int], closed: bool, turned: bool
) -> None:
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii) + 0.1
    x, y = 300 + 1.5 * np.array(radii) * np.cos(angle), 190 + np.array(radii) * np.sin(angle)
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    ring = np.column_stack([x, y])[:: -1 if turned else 1].tolist()
    path = tmp_path_factory.getbasetemp() / "ring.geojson"
    path.write_text(json.dumps(_polygon([*ring, ring[0]] if closed else ring)), encoding="utf-8")
    assert read_roi(path, SIZE).area_l0 == pytest.approx(area)


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
