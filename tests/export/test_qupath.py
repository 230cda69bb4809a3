"""The project file as QuPath reads it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.palette import qupath_classes
from wsi_pipeline.export.qupath import MapImage, QuPathProject, write_qupath_project
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Mpp, Size

SCORES = {"HER2 score": "2+ (it's $borderline @TILES@ \\ 9·11 %)", "Notice": "Research use only\nnot diagnostic"}


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
    """Return a work folder with a map and tiles, and the final folder, which has spaces and accents."""
    work, final = tmp_path / ".out.partial", tmp_path / "run 7 é%20"
    (work / "maps").mkdir(parents=True)
    spec = MapSpec(size_map=Size(83, 61), channels="rgb", mpp_map=Mpp(2.0, 2.08), name="HER2 classes")
    MapStore.create(work / "maps" / "classes.zarr", spec)
    (work / "tiles.geojson.gz").write_bytes(b"x")
    return work, final


def project(tmp_path: Path, **changes: Any) -> QuPathProject:
    options: dict[str, Any] = {
        "slide": tmp_path / "Fall Ä 12#b.svs",
        "reader": "openslide",
        "mpp": Mpp(0.25, 0.26),
        "image_type": "BRIGHTFIELD_H_DAB",
        "metadata": SCORES,
        "maps": (MapImage(name="HER2 classes", path="maps/classes.zarr", shown="classes"),),
        "tiles": ("tiles.geojson.gz",),
    }
    return QuPathProject(**(options | changes))


def from_uri(uri: str) -> Path:
    assert re.fullmatch(r"file:///[A-Za-z0-9._~/%:-]+", uri), uri
    return Path(unquote(urlparse(uri).path))


def test_project_has_what_qupath_needs(tmp_path: Path, run: tuple[Path, Path]) -> None:
    work, final = run
    path = write_qupath_project(work, final, project(tmp_path))
    assert path == work / "project.qpproj"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["version"]
    assert isinstance(content["createTimestamp"], int)
    assert isinstance(content["modifyTimestamp"], int)
    assert content["lastID"] == 2
    slide, classes = content["images"]
    assert [image["entryID"] for image in content["images"]] == [1, 2]
    assert slide["imageName"] == "Fall Ä 12#b.svs"
    assert slide["metadata"] == SCORES
    assert classes["imageName"] == "HER2 classes"
    assert all(isinstance(value, str) for image in content["images"] for value in image["metadata"].values())
    for image in content["images"]:
        assert image["serverBuilder"]["builderType"] == "uri"
        assert all(isinstance(argument, str) for argument in image["serverBuilder"]["args"])
    assert slide["serverBuilder"]["providerClassName"] == "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
    assert (
        classes["serverBuilder"]["providerClassName"] == "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"
    )


def test_links_hold_after_the_run_folder_is_renamed(tmp_path: Path, run: tuple[Path, Path]) -> None:
    work, final = run
    write_qupath_project(work, final, project(tmp_path))
    shutil.move(work, final)
    content = json.loads((final / "project.qpproj").read_text(encoding="utf-8"))
    slide, classes = (from_uri(image["serverBuilder"]["uri"]) for image in content["images"])
    assert slide == tmp_path / "Fall Ä 12#b.svs"
    assert classes.is_dir()
    assert from_uri(content["uri"]).is_file()


def test_plain_images_are_opened_by_bio_formats(tmp_path: Path, run: tuple[Path, Path]) -> None:
    path = write_qupath_project(*run, project(tmp_path, reader="bioformats"))
    builder = json.loads(path.read_text(encoding="utf-8"))["images"][0]["serverBuilder"]
    assert builder["providerClassName"].endswith("bioformats.BioFormatsServerBuilder")


def test_classes_have_java_colours(tmp_path: Path, run: tuple[Path, Path]) -> None:
    path = write_qupath_project(*run, project(tmp_path))
    classes = json.loads((path.parent / "classifiers" / "classes.json").read_text())["pathClasses"]
    unpacked = [
        (entry["name"], tuple(entry["color"].to_bytes(4, "big", signed=True)[1:])) for entry in classes
    ]  # fmt: skip
    assert unpacked == qupath_classes()
    assert {"Tumor: 3+", "Tile: mostly 3+", "Network tile: class 3+"} < {name for name, _ in unpacked}
    assert all(entry["color"].to_bytes(4, "big", signed=True)[0] == 255 for entry in classes)


def test_script_finds_files_from_the_project_and_quotes_texts(tmp_path: Path, run: tuple[Path, Path]) -> None:
    (run[0] / "cells-001.geojson.gz").write_bytes(b"x")
    path = write_qupath_project(*run, project(tmp_path, cells=("cells-001.geojson.gz",)))
    script = (path.parent / "scripts" / "import_results.groovy").read_text(encoding="utf-8")
    files = "['cells': ['cells-001.geojson.gz'], 'tiles': ['tiles.geojson.gz'], 'network tiles': []]"
    assert f"def FILES = {files}" in script
    assert "def KINDS = ['cells', 'tiles']" in script
    assert "['2', 'HER2 classes', 'classes', 8.0d, 8.0d]," in script
    assert "setPixelSizeMicrons(0.25, 0.26)" in script
    assert "setImageType('BRIGHTFIELD_H_DAB')" in script
    assert r"'HER2 score': '2+ (it\'s $borderline @TILES@ \\ 9·11 %)'" in script
    assert r"'Notice': 'Research use only\nnot diagnostic'" in script
    assert str(tmp_path) not in script
    assert "entry.getID() != '1'" in script
    assert script.count("(") == script.count(")")
    assert script.count("{") == script.count("}")


def test_script_without_scores_has_an_empty_map(tmp_path: Path, run: tuple[Path, Path]) -> None:
    path = write_qupath_project(*run, project(tmp_path, metadata={}, tiles=(), image_type="BRIGHTFIELD_H_E"))
    script = (path.parent / "scripts" / "import_results.groovy").read_text(encoding="utf-8")
    assert "def SCORES = [:]" in script
    assert "def KINDS = []" in script
    assert "setImageType('BRIGHTFIELD_H_E')" in script


def test_what_is_not_there_is_not_listed(tmp_path: Path, run: tuple[Path, Path]) -> None:
    with pytest.raises(OutputError, match=r"cells\.geojson\.gz: does not exist"):
        write_qupath_project(*run, project(tmp_path, cells=("cells.geojson.gz",)))
    with pytest.raises(OutputError, match="must be an absolute path"):
        write_qupath_project(*run, project(tmp_path, slide=Path("slide.svs")))
    assert not (run[0] / "project.qpproj").exists()


def test_network_tiles_are_added_where_there_are_no_cells(tmp_path: Path, run: tuple[Path, Path]) -> None:
    path = write_qupath_project(*run, project(tmp_path, tiles=(), network_tiles=("tiles.geojson.gz",)))
    script = (path.parent / "scripts" / "import_results.groovy").read_text(encoding="utf-8")
    assert "def KINDS = ['network tiles']" in script


def test_what_is_missing_after_a_move_lies_below_the_project(tmp_path: Path, run: tuple[Path, Path]) -> None:
    """There QuPath takes what lies at the same place relative to the project, without a question."""
    work, final = run
    write_qupath_project(work, final, project(tmp_path))
    shutil.move(work, tmp_path / "elsewhere")
    content = json.loads((tmp_path / "elsewhere" / "project.qpproj").read_text(encoding="utf-8"))
    before = from_uri(content["uri"]).parent
    for image in content["images"][1:]:
        assert (tmp_path / "elsewhere" / from_uri(image["serverBuilder"]["uri"]).relative_to(before)).is_dir()
