"""What a real run writes obeys the rules that viewers were seen to need."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
import pytest
from ome_zarr_models import open_ome_zarr
from shapely.geometry import shape

MAPS = ("her2_class", "dab_density", "dab_pseudocolour", "positive_share")


@pytest.fixture(scope="module")
def run(sample_run: Callable[[str], Any]) -> Any:
    return sample_run("heterogeneous")


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_valid_ngff_0_4_that_qupath_opens(run: Any, name: str) -> None:
    import zarr  # noqa: PLC0415

    store = run.out / "maps" / f"{name}.ome.zarr"
    model = open_ome_zarr(zarr.open_group(store, mode="r", zarr_format=2))
    assert model.ome_zarr_version == "0.4"
    for path in store.rglob(".zarray"):
        array = json.loads(path.read_text())
        assert array["compressor"]["id"] == "blosc"
        assert array["filters"] is None
        assert (array["order"], array["dimension_separator"], array["dtype"]) == ("C", "/", "|u1")
        assert array["chunks"][0] == 1
    xml = (store / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8")
    assert 'PhysicalSizeXUnit="\u00b5m"' in xml
    assert (store / "OME" / ".zgroup").is_file()
    assert re.findall(r'Channel [^>]*Name="(\w+)"', xml)[:3] == ["Red", "Green", "Blue"] or name != "her2_class"
    assert not any(".zarr" in part for part in store.relative_to(run.out).parts[:-1])


def test_every_level_of_every_map_begins_at_the_slides_corner(run: Any) -> None:
    corner = np.array([run.result["slide"]["mpp_y"], run.result["slide"]["mpp_x"]]) / -2  # the first px centre is at 0
    for store in (run.out / "maps").iterdir():
        for entry in attributes(store)["multiscales"][0]["datasets"]:
            scale, translation = (change[change["type"]] for change in entry["coordinateTransformations"])
            np.testing.assert_allclose(translation[1:] - np.array(scale[1:]) / 2, corner, atol=1e-9, err_msg=store.name)


def test_density_is_shown_from_0_to_1_5_od(run: Any) -> None:
    window = attributes(run.out / "maps" / "dab_density.ome.zarr")["omero"]["channels"][0]["window"]
    assert (window["start"], window["end"]) == (0, 150)


def attributes(store: Path) -> dict[str, Any]:
    return json.loads((store / ".zattrs").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "px"), [("her2_class", 8), ("dab_density", 8), ("positive_share", 256)])
def test_maps_have_the_slides_extent(run: Any, name: str, px: int) -> None:
    slide = run.result["slide"]
    height, width = run.levels(name)[0].shape[:2]
    assert (width, height) == (-(-slide["width"] // px), -(-slide["height"] // px))
    xml = (run.out / "maps" / f"{name}.ome.zarr" / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8")
    found = re.search(r'PhysicalSizeX="([\d.]+)"', xml)
    assert found is not None
    assert float(found.group(1)) == pytest.approx(slide["mpp_x"] * px)


def test_map_values_are_those_of_the_tables(run: Any) -> None:
    tiles = run.table("tiles.parquet")
    share = run.levels("positive_share")[0]
    filled = tiles["tumour_cells"] > 0
    expected = np.zeros(share.size, int)
    expected[tiles["tile"][filled]] = np.rint(1 + 2 * tiles["positive_percent"][filled])
    assert np.abs(share.ravel().astype(int) - expected).max() <= 1
    cells = run.table("cells.parquet")
    assert tiles["tumour_cells"].sum() == cells["tumour"].sum() == run.result["cells"]["tumour"]


@pytest.mark.parametrize("name", ["tiles.geojson.gz", "cells.geojson.gz"])
def test_every_feature_would_be_accepted(run: Any, name: str) -> None:
    text = gzip.decompress((run.out / name).read_bytes()).decode()
    assert "null" not in text
    assert "NaN" not in text
    features = json.loads(text)["features"]
    assert features
    identities = set()
    for feature in features:
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        assert polygon.area > 0
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]
        properties = feature["properties"]
        assert set(properties["classification"]) == {"name", "color"}
        assert properties["objectType"] in {"tile", "detection"}
        assert all(isinstance(value, int | float) for value in properties.get("measurements", {}).values())
        identities.add(feature["id"])
    assert len(identities) == len(features)


def test_the_project_finds_slide_and_maps(run: Any) -> None:
    project = json.loads((run.out / "project.qpproj").read_text(encoding="utf-8"))
    paths = [Path(unquote(urlparse(image["serverBuilder"]["uri"]).path)) for image in project["images"]]
    written = {path.name for path in (run.out / "maps").iterdir()}  # with torch those of the classifier too
    assert written >= {f"{name}.ome.zarr" for name in MAPS}
    assert sorted(path.name for path in paths[1:]) == sorted(written)
    assert all(path.is_absolute() and path.exists() for path in paths)
    assert project["images"][0]["metadata"]["HER2 score"] == run.result["score"]
    assert "Research use only" in project["images"][0]["metadata"]["Notice"]


def test_large_cells_are_rings_in_the_overlay(run: Any) -> None:
    picture = cv2.imread(str(run.out / "overlay.png"))[82:, :, ::-1].astype(int)  # below the title strip
    px_per_l0 = 1600 / run.result["slide"]["width"]
    cells = run.table("cells.parquet")
    strong = cells["tumour"] & cells["scored"] & (cells["class"] == "3")
    x, y = cells["x_l0"][strong] * px_per_l0, cells["y_l0"][strong] * px_per_l0
    wide = 10 / run.result["slide"]["mpp_x"] * px_per_l0
    assert wide > 20

    def red(right: float, down: float) -> float:
        places = (y + down).astype(int), (x + right).astype(int)
        return float((np.abs(picture[places] - (189, 0, 38)).max(axis=1) < 40).mean())

    assert red(0, 0) < 0.05, "the nucleus is seen"
    assert red(wide / 2 - 1.5, 0) > 0.6
    assert red(0, 1.5 - wide / 2) > 0.6
