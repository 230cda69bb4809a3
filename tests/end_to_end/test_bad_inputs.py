"""Bad input: an exit code of its own, one line of plain words that names what is wrong, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from tests.end_to_end.said import own_words


def assert_refused(outcome: Any, code: int, *names: object) -> None:
    """Check the exit code, the one line on stderr and what it names, and that the run left nothing.

    Before it, a run says which networks it has chosen, where they can be run.
    """
    assert (outcome.code, outcome.stdout) == (code, ""), outcome.stderr
    said = own_words(outcome.stderr).splitlines()
    assert len(said) == 1, outcome.stderr
    assert said[0].startswith("wsi-her2: ")
    for name in names:
        assert str(name) in outcome.stderr
    if outcome.out.parent.is_dir():
        assert not [path for path in outcome.out.parent.iterdir() if outcome.out.name in path.name]


@pytest.fixture
def sample(samples: Path) -> Path:
    return samples / "phantom_null.svs"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_a_text_file(score: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    path = tmp_path / "text.svs"
    path.write_text("this is not a slide\n" * 100)
    assert_refused(score(path, out), 4, path)


def test_a_traceback_comes_with_debug_only(score: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    path = tmp_path / "text.svs"
    path.write_text("this is not a slide\n")
    outcome = score(path, out, "--debug")
    assert outcome.code == 4
    assert "Traceback" in outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith(f"wsi-her2: {path}")
    assert not out.exists()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_truncated_slide(share: float, score: Callable[..., Any], sample: Path, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "short.svs"
    content = sample.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert_refused(score(path, out), 4, path)


def test_a_slide_without_a_pixel_size(score: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    path = tmp_path / "plain.tif"
    pixels = np.random.default_rng(3).integers(0, 256, (389, 613, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(64, 64), metadata=None)
    assert_refused(score(path, out), 6, path, "--mpp")


@pytest.mark.parametrize("option", ["--mpp", "--assume-mpp"])
@pytest.mark.parametrize("value", ["0", "-1", "300", "nan", "inf"])
def test_an_impossible_pixel_size(option: str, value: str, score: Callable[..., Any], sample: Path, out: Path) -> None:
    assert_refused(score(sample, out, option, value), 2, option, value)


def test_a_pixel_size_that_is_no_number(score: Callable[..., Any], sample: Path, out: Path) -> None:
    assert_refused(score(sample, out, "--mpp", "small"), 2, "--mpp")


def test_a_fluorescence_qptiff(score: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    path = tmp_path / "panel.qptiff"
    description = (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>'
        "<Name>{}</Name></PerkinElmer-QPI-ImageDescription>"
    )
    channel = np.random.default_rng(4).integers(0, 4000, (389, 613)).astype(np.uint16)
    with tifffile.TiffWriter(path) as writer:
        for name in ("DAPI", "Opal 520", "Opal 570", "Opal 690"):
            options = {"tile": (128, 128), "photometric": "minisblack", "metadata": None, "software": "PerkinElmer-QPI"}
            writer.write(channel, description=description.format(name), resolution=(20000, 20000), **options)
    assert_refused(score(path, out, "--mpp", "0.5"), 5, path, "brightfield")


@pytest.mark.real
def test_the_dicom_that_lacks_what_it_needs(score: Callable[..., Any], real_data: Path, out: Path) -> None:
    path = real_data / "slides" / "small_dicom.dcm"
    assert_refused(score(path, out, "--mpp", "0.5"), 5, path)


@pytest.mark.real
def test_a_real_fluorescence_qptiff(score: Callable[..., Any], real_data: Path, out: Path) -> None:
    path = real_data / "slides" / "small_vectra.qptiff"
    assert_refused(score(path, out), 5, path, "brightfield")


@pytest.mark.real
def test_a_real_slide_without_a_pixel_size(score: Callable[..., Any], real_data: Path, out: Path) -> None:
    path = real_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    assert_refused(score(path, out), 6, path)


@pytest.mark.parametrize("size", [(1, 1), (701, 1203)])
@pytest.mark.parametrize("stain", ["auto", "ihc"])
def test_nothing_to_score_is_a_result(
    size: tuple[int, int], stain: str, score: Callable[..., Any], tmp_path: Path, out: Path
) -> None:
    path = tmp_path / "white.png"
    cv2.imwrite(str(path), np.full((*size, 3), 244, np.uint8))
    outcome = score(path, out, "--mpp", "0.25", "--stain", stain, "--json")
    assert outcome.code == 3, outcome.stderr
    assert outcome.stdout == (out / "result.json").read_text()
    result = outcome.result
    assert (result["score"], result["category"], result["reason"]) == (
        "not evaluable", "not evaluable", "no tissue was found",
    )  # fmt: skip
    assert result["shares"] is result["deciding_share"] is None
    assert (result["cells"]["tumour"], result["tissue_mm2"], result["pieces"]) == (0, 0, [])
    assert (result["slide"]["width"], result["slide"]["height"]) == (size[1], size[0])
    assert not any("never scanned" in warning for warning in result["warnings"])
    assert outcome.table("cells.parquet") == {}
    picture = cv2.imread(str(out / "overlay.png"))
    assert picture.shape[1] >= 640


def test_an_output_folder_that_is_a_file(score: Callable[..., Any], sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    outcome = score(sample, path)
    assert (outcome.code, outcome.stderr.count("\n")) == (8, 1)
    assert str(path) in outcome.stderr
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_folder_below_a_file(score: Callable[..., Any], sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert_refused(score(sample, path / "results"), 8, path / "results")
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_folder_where_nobody_may_write(score: Callable[..., Any], sample: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:  # the superuser may write anywhere but where the kernel makes the files
        folder = Path("/proc/self")
        if not folder.is_dir():
            pytest.skip("the superuser may write everywhere, and there is no /proc")
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
    assert_refused(score(sample, folder / "results"), 8, "results")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return what mounts an empty disk of so many megabytes."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> Path:
        disk = tmp_path / "disk"
        disk.mkdir()
        program = shutil.which("mount")
        if os.geteuid() != 0 or program is None or not sys.platform.startswith("linux"):
            pytest.skip("only the superuser of a Linux machine may mount a small disk")
        command = [program, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_without_room_is_refused_before_the_work(
    score: Callable[..., Any], sample: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(2)
    assert_refused(score(sample, disk / "results"), 7, disk, "bytes")
    assert list(disk.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("serial", [True, False])
def test_a_disk_that_fills_up_during_the_work(
    serial: bool, score: Callable[..., Any], sample: Path, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(40)
    filler = disk / "somebody else's"

    def fill() -> None:
        until = time.monotonic() + 60
        while not list(disk.glob(".run-results.partial-*/.parts")) and time.monotonic() < until:
            time.sleep(0.001)
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    thread = threading.Thread(target=fill)
    thread.start()
    outcome = score(sample, disk / "results", "--set", "tiling.region_tiles=1", serial=serial)
    thread.join()
    assert_refused(outcome, 7, disk, "full")
    assert list(disk.iterdir()) == [filler]


@pytest.mark.parametrize(
    "content",
    [b"not json at all", b'{"type": "Nonsense"}', b"\x89PNG\r\n", b'{"type":"FeatureCollection","features":[]}'],
)
def test_a_region_that_is_not_geojson(
    content: bytes, score: Callable[..., Any], sample: Path, tmp_path: Path, out: Path
) -> None:
    path = tmp_path / "drawn.geojson"
    path.write_bytes(content)
    assert_refused(score(sample, out, "--roi", path), 9, path)


def test_a_region_outside_the_slide(score: Callable[..., Any], sample: Path, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "drawn.geojson"
    path.write_text('{"type":"Polygon","coordinates":[[[9000,10],[9500,10],[9500,400],[9000,10]]]}')
    assert_refused(score(sample, out, "--roi", path), 9, path, "2710 x 1907")


def test_a_region_file_that_is_missing(score: Callable[..., Any], sample: Path, tmp_path: Path, out: Path) -> None:
    assert_refused(score(sample, out, "--roi", tmp_path / "gone.geojson"), 9, "gone.geojson")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("--pieces", "7"), "piece 7"),
        (("--pieces", "0"), "piece 0"),
        (("--pieces", "one"), "--pieces one"),
        (("--assay", "nobody's"), "nobody's"),
        (("--preset", "nobody's"), "nobody's"),
        (("--set", "rule.nothing=1"), "rule.nothing"),
        (("--set", "rule.min_cells=-3"), "rule.min_cells"),
        (("--set", "rule.min_cells"), "NAME=VALUE"),
        (("--set", "tiling.map_px=7"), "tiling.map_px"),
        (("--stain", "giemsa"), "giemsa"),
        (("--nothing",), "--nothing"),
    ],
)
def test_an_option_that_makes_no_sense(
    words: tuple[str, ...], name: str, score: Callable[..., Any], sample: Path, out: Path
) -> None:
    assert_refused(score(sample, out, *words), 2, name)


def test_a_slide_that_is_missing(score: Callable[..., Any], tmp_path: Path, out: Path) -> None:
    assert_refused(score(tmp_path / "gone.svs", out), 2, tmp_path / "gone.svs")


@pytest.mark.slow
def test_spaces_and_umlauts_in_every_path(score: Callable[..., Any], samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "My Slides \u00dcn\u00efcode \u75c5\u7406 100%#?"
    folder.mkdir()
    slide = folder / "Fall \u00c4 1.svs"
    shutil.copy(samples / "phantom_1plus.svs", slide)
    drawn = folder / "r\u00e9gion 1.geojson"
    drawn.write_text('{"type":"Polygon","coordinates":[[[0,0],[2710,0],[2710,1907],[0,1907],[0,0]]]}')
    outcome = score(slide, folder / "Ergebnisse \u00fc", "--roi", drawn, "--json", serial=False)
    assert outcome.code == 0, outcome.stderr
    assert outcome.result["slide"]["path"] == f"../{slide.name}"
    project = (outcome.out / "project.qpproj").read_text(encoding="utf-8")
    assert slide.resolve().as_uri() in project
    assert "Fall%20%C3%84%201.svs" in project
    assert "100%25%23%3F" in project
    assert (outcome.out / "maps" / "her2_class.ome.zarr").resolve().as_uri() in project
