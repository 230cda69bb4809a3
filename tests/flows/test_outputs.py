"""What a run leaves: nothing lost to the last file, nothing of the machine in public, under any name of the slide."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from wsi_pipeline.config import load_settings
from wsi_pipeline.errors import OutputError, ResourceError
from wsi_pipeline.flows import outputs
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.results import Result

SAMPLE = Path(__file__).resolve().parents[2] / "sample_slides" / "phantom_3plus.svs"
RAW_NAME = b"M\xfcller $1 @x 'a' \"b\" \n \xf0\x9f\x98\x80 \xe2\x81\x84.tif"
WRITTEN = "M\\xfcller $1 @x 'a' \"b\" \\x0a \U0001f600 \u2044.tif"
SETTINGS = load_settings(None, {"engine": {"executor": "serial"}, "evidence": "cells"})


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Return a piece of a sample with tissue and glass, (389, 613, 3) uint8."""
    with tifffile.TiffFile(SAMPLE) as tiff:
        return np.asarray(tiff.pages[0].asarray())[300:689, 500:1113]


@pytest.fixture(scope="module")
def slide(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return that piece as a slide under a name that is no text."""
    path = tmp_path_factory.mktemp("lab") / "archive" / os.fsdecode(RAW_NAME)
    path.parent.mkdir()
    per_cm = (1e4 / 0.25, 1e4 / 0.26)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), resolution=per_cm, resolutionunit="CENTIMETER")
    return path


def run(slide: Path, out: Path) -> tuple[Result, Path]:
    return score_slide(ScoreRequest(slide, out, SETTINGS, stain="ihc"))


@pytest.fixture(scope="module")
def whole(slide: Path) -> tuple[Result, Path]:
    """Return a run that nothing disturbs, beside the folder of slides."""
    return run(slide, slide.parents[1] / "results" / "one")


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of every file that a run wrote, as text; of tables what they say of themselves."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if path.suffix == ".parquet":
            raw = str(pq.read_schema(path).metadata).encode() + raw
        yield path.relative_to(folder).as_posix(), raw.decode("utf-8", "replace")


def test_nothing_that_is_public_names_the_machine(whole: tuple[Result, Path], slide: Path) -> None:
    result, folder = whole
    assert (result.slide.name, result.slide.path) == (WRITTEN, f"../../archive/{WRITTEN}")
    assert result.slide.local_path is None
    found = dict(texts(folder))
    assert len(found) > 20
    own = {str(slide.parents[1]), str(Path.home()), str(Path(__file__).parents[2])}
    for name, text in found.items():
        if name != "project.qpproj":  # QuPath opens no relative URI
            assert not [place for place in own if place in text], name
    assert socket.gethostname() not in found["result.json"]


def test_a_slide_whose_name_is_no_text_is_written_everywhere(whole: tuple[Result, Path], slide: Path) -> None:
    _, folder = whole
    written = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert Result.model_validate(written).slide.name == WRITTEN
    project = json.loads((folder / "project.qpproj").read_text(encoding="utf-8"))
    assert project["images"][0]["imageName"] == WRITTEN
    uri = project["images"][0]["serverBuilder"]["uri"]
    assert uri == slide.as_uri()
    assert "/M%FCller%20%241" in uri
    assert "%0A" in uri


def test_a_slide_far_away_is_told_in_a_field_of_its_own(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: slide.parents[1] / "archive" / "home")
    result, _ = run(slide, slide.parents[1] / "two")
    assert (result.slide.path, result.slide.local_path) == (WRITTEN, f"{slide.parent}/{WRITTEN}")


BROKEN: dict[str, tuple[str, Exception]] = {
    "overlay.png": ("write_overlay", ValueError("no\n font")),
    "cells.geojson.gz": ("write_cell_objects", OutputError("x", "cannot be written: Input/output error")),
    "tiles.geojson.gz": ("write_tile_objects", UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")),
    "project.qpproj": ("write_qupath_project", MemoryError("no room")),
}


def test_what_only_shows_a_result_does_not_lose_it(
    whole: tuple[Result, Path], slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(error: Exception) -> Any:
        def fail(*_words: Any) -> None:
            raise error

        return fail

    for function, error in BROKEN.values():
        monkeypatch.setattr(outputs, function, failing(error))
    result, folder = run(slide, tmp_path / "out")
    good = whole[0]
    assert (result.score, result.shares, result.cells) == (good.score, good.shares, good.cells)
    lost = set(result.warnings) - set(good.warnings)
    assert {warning.split(" is missing")[0] for warning in lost} == BROKEN.keys()
    assert "overlay.png is missing, because it could not be written: unexpected ValueError: no font" in lost
    assert result.outputs.keys() == {"result", "cells", "cells_geojson", "tiles", "tiles_geojson", "maps"}
    assert result.outputs["cells_geojson"] == result.outputs["tiles_geojson"] == []
    assert pq.read_table(folder / "cells.parquet").equals(pq.read_table(whole[1] / "cells.parquet"))
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["warnings"] == list(result.warnings)


def test_a_full_disk_is_an_error_whatever_file_it_meets(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_words: Any) -> None:
        raise ResourceError("overlay.png", "the disk is full")

    monkeypatch.setattr(outputs, "write_overlay", fail)
    with pytest.raises(ResourceError, match="disk is full"):
        run(slide, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
