"""The script, run by Groovy against stand-ins of QuPath's classes: what one Run does, and what the next ones do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsi_pipeline.explain.pseudocolour import colour_density, diverging
from wsi_pipeline.export.geojson import ObjectColumns, write_cells_geojson, write_tiles_geojson
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.palette import CLASS_KEYS, NO_CLASS, class_style, colour_classes
from wsi_pipeline.export.qupath import MapImage, QuPathProject, write_qupath_project
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Mpp, Size

MPP = Mpp(0.25, 0.26)
NAMES = ("HER2 'class'", "Density", "Evidence")
WHITE = (255, 255, 255)
STRONG = CLASS_KEYS.index("3")
GRADES = ("Negative", "1+", "2+", "3+")


def pictures() -> dict[str, tuple[np.ndarray[Any, Any], int]]:
    """Return the pixels (H, W, 3) of each map and its slide px per map px; the first is wider than is read at once."""
    classes = np.full((31, 8011), NO_CLASS, np.uint8)
    classes[12:20, 100:300] = STRONG
    density = np.tile(np.arange(0, 171, dtype=np.uint8), (7, 1))
    evidence = np.tile(np.linspace(-1, 1, 41), (5, 1))
    evidence[0] = np.nan
    return {
        NAMES[0]: (colour_classes(classes), 8),
        NAMES[1]: (colour_density(density), 8),
        NAMES[2]: (diverging(evidence, 1.0), 70),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the project of a run, that of one that is not evaluable (`none`), and the maps as served."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "maps").mkdir()
    for number, (pixels, _) in enumerate(pictures().values(), start=2):
        halves = pixels[::2, ::2] if number == 2 else None
        for level, shown in enumerate([pixels] if halves is None else [pixels, halves]):
            cv2.imwrite(str(folder / f"maps/{number}-{level}.png"), shown[..., ::-1])
    for name, scored in (("run", True), ("none", False)):
        (folder / name).mkdir()
        write_project(folder / name, scored=scored)
    return folder


def write_project(work: Path, *, scored: bool) -> None:
    looks = ("classes", "darker is more", "colourful is more")
    maps = [MapImage(name="values", path="values.zarr")]  # entry 5, without a look
    for (name, (pixels, step)), look in zip(pictures().items(), looks, strict=True):
        size = Size(pixels.shape[1], pixels.shape[0])
        spec = MapSpec(size_map=size, channels="rgb", mpp_map=MPP.scaled(step), mpp_slide=MPP, name=name)
        MapStore.create(work / f"{look[:4]}.zarr", spec)
        maps.insert(-1, MapImage(name=name, path=f"{look[:4]}.zarr", shown=look))
    MapStore.create(
        work / "values.zarr", MapSpec(size_map=Size(9, 7), channels="gray", mpp_map=MPP.scaled(8), name="values")
    )
    boxes = np.array([[index * 512, 17, 512, 256] for index in range(5)])
    tiles = ObjectColumns(["0", "1", "2i", "3", "free"], {}, boxes, scored=scored)
    corners = np.array([[0, 0], [8, 1], [5, 9]]) + np.arange(7)[:, None, None] * 30
    cells = ObjectColumns(["0", "1", "2i", "2", "3", "3", "1"], {}, None, corners.astype(float), scored=scored)
    write_tiles_geojson(work / "tiles.geojson.gz", tiles, "ab")
    write_tiles_geojson(work / "net.geojson.gz", tiles, "ab", kind="network tile")
    write_cells_geojson(work / "cells.geojson.gz", cells, "ab")
    write_qupath_project(work, work, QuPathProject(
        slide=work / "slide.svs", reader="openslide", mpp=MPP, image_type="BRIGHTFIELD_H_DAB", scored=scored,
        metadata={"HER2 score": "2+ (it's $near @KINDS@ 10 %)"}, maps=tuple(maps), cells=("cells.geojson.gz",),
        tiles=("tiles.geojson.gz",), network_tiles=("net.geojson.gz",),
    ))  # fmt: skip


def run(groovy: list[str], made: Path, times: int, *, name: str = "run", window: bool = True, entry: str = "1") -> Any:
    """Return what lies in QuPath after each of the Runs, and when another image is opened."""
    words = [str(made / name), str(made / "maps"), str(times), "window" if window else "none", entry]
    done = subprocess.run([*groovy, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs(groovy: list[str], made: Path) -> Any:
    return run(groovy, made, 5)


def alpha(layer: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return the opacity (H, W) of a map that is shown, 0-255."""
    width, height = layer["px"]
    return (np.array(layer["argb"], np.int64) >> 24 & 255).reshape(height, width)


def test_one_run_sets_type_pixel_size_and_objects(runs: Any) -> None:
    first = runs[0]
    assert (first["type"], first["pixel"]) == ("BRIGHTFIELD_H_DAB", [0.25, 0.26])
    assert first["objects"] == {"detection": 7, "tile": 5}, "network tiles are a kind of their own"
    assert first["score"] == "2+ (it's $near @KINDS@ 10 %)"
    assert first["saved"] == 1
    assert {name for name in first["classes"] if name.startswith("Tumor: ")} == {f"Tumor: {name}" for name in GRADES}
    tiles = {name for name in first["classes"] if not name.startswith("Tumor: ")}
    assert tiles == {"Tile: mostly 0", "Tile: mostly 1+", "Tile: mostly 2+", "Tile: mostly 3+", "Tumor-free"}


def test_the_class_map_lies_over_the_slide_and_is_clear_where_nothing_was_classified(runs: Any) -> None:
    (layer,) = runs[0]["maps"]
    assert layer["name"].endswith(NAMES[0])
    assert layer["px"] == [4006, 16], "the second level: the first is too large"
    assert (layer["x"], layer["y"], layer["width"], layer["height"]) == (0, 0, 4006 * 16, 16 * 16)
    strong = np.zeros((16, 4006), bool)
    strong[6:10, 50:150] = True
    np.testing.assert_array_equal(alpha(layer), np.where(strong, 0xAA, 0))
    colours = {f"{value & 0xFFFFFF:06x}" for value in layer["argb"]}
    assert colours == {"ffffff", "".join(f"{part:02x}" for part in class_style("3").rgb)}


def test_density_gets_more_opaque_with_more_and_glass_stays_clear(runs: Any) -> None:
    (layer,) = runs[1]["maps"]
    assert (layer["width"], layer["height"]) == (171 * 8, 7 * 8)
    row = alpha(layer)[3]
    assert row[0] == 0
    assert (np.diff(row[1:]) >= 0).all()
    assert row[1] < 40
    assert 60 < row[20] < 110, "weak stain is seen, and the tissue below it"
    assert row[150:].min() > 200


def test_evidence_gets_more_opaque_to_both_sides(runs: Any) -> None:
    (layer,) = runs[2]["maps"]
    shown = alpha(layer)
    assert (shown[0] == 0).all(), "grey: no tile there"
    assert shown[3, 20] == 0
    assert (np.diff(shown[3, 20:]) >= 0).all()
    assert (np.diff(shown[3, :21]) <= 0).all()
    assert min(shown[3, 0], shown[3, -1]) > 190


def test_further_runs_go_through_the_maps_and_add_nothing(runs: Any) -> None:
    assert [[layer["name"][len("wsi-her2 map: ") :] for layer in after["maps"]] for after in runs] == [
        *([name] for name in NAMES), [], [NAMES[0]], [],
    ]  # fmt: skip
    assert all(after["objects"] == runs[0]["objects"] for after in runs)
    assert all(after["others"] == 1 for after in runs), "overlays of others stay"
    assert "Run again for Density" in runs[0]["said"]
    assert "Added 0 cells" in runs[1]["said"]
    assert f"No map is shown. Run again for {NAMES[0]}" in runs[3]["said"]


def test_without_a_window_objects_are_added_all_the_same(groovy: list[str], made: Path) -> None:
    after, _ = run(groovy, made, 1, name="none", window=False)
    assert after["objects"] == {"detection": 7, "tile": 5}
    assert "no map is shown" in after["said"]
    assert after["classes"], "a result that is not evaluable gets no H-score from QuPath"
    assert not {name.split(": ")[-1] for name in after["classes"]} & {*GRADES, "Positive"}
    assert "Not scored: measured 3+" in after["classes"]


def test_a_map_as_the_open_image_is_left_alone(groovy: list[str], made: Path) -> None:
    after, _ = run(groovy, made, 1, entry="3")
    assert (after["objects"], after["type"], after["maps"], after["saved"]) == ({}, None, [], 0)
    assert "open the slide" in after["said"]


def test_a_map_that_is_gone_is_said(groovy: list[str], made: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "run").symlink_to(made / "run")
    after, _ = run(groovy, tmp_path, 1)
    assert after["maps"] == []
    assert "The map HER2 'class' cannot be shown" in after["said"]
