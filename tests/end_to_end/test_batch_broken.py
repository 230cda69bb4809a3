"""A batch of sixty with broken input of every kind among it: every good slide is scored, every bad one named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide
from wsi_pipeline.training.phantom.options import TissueOptions

pytestmark = pytest.mark.slow

SERIAL = ("--set", "engine.executor=serial")

FULL = TissueOptions(tumour_fraction=0.85, fat=False, vessels=False, necrosis=False, lymphocytes=False)
"""Tissue with enough tumour cells on a small slide."""


def summary(out: Path) -> dict[str, dict[str, str]]:
    """Return slide -> row of the summary."""
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide that takes a second: 1009 x 787 px at 0.25 x 0.26 um."""
    options = PhantomOptions(
        name="small", seed=5, width=1009, height=787, mpp_y=0.26, mix={"2": 0.2, "3": 0.8}, tissue=FULL
    )
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("small") / "small.svs")


def truncated(path: Path, good: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def broken_tiles(path: Path, good: Path) -> None:
    """Overwrite the compressed pixels of most tiles of level 0."""
    content = bytearray(good.read_bytes())
    with tifffile.TiffFile(good) as tiff:
        page = tiff.pages[0]
        for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            content[offset : offset + size] = bytes(size)
    path.write_bytes(content)


def plain_tiff(path: Path, pixels: np.ndarray, **options: Any) -> None:
    options = {"photometric": "rgb", "resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"} | options
    tifffile.imwrite(path, pixels, tile=(64, 64), metadata=None, **options)


def noise(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(0, np.iinfo(kind).max, shape, kind)


def fluorescence(path: Path) -> None:
    description = (
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>'
        "<Name>{}</Name></PerkinElmer-QPI-ImageDescription>"
    )
    with tifffile.TiffWriter(path) as writer:
        for name in ("DAPI", "Opal 520", "Opal 690"):
            options = {"tile": (128, 128), "photometric": "minisblack", "metadata": None, "software": "PerkinElmer-QPI"}
            writer.write(noise(389, 613, kind=np.uint16), description=description.format(name), **options)


def zero_size(path: Path) -> None:
    """Write a TIFF whose header says 0 x 0 px."""
    entries = [
        (256, 3, 1, 0),
        (257, 3, 1, 0),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (279, 4, 1, 0),
    ]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries)) + body + bytes(4))


def zipped(path: Path, good: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(good, "slide.svs")


BROKEN: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "truncated.svs": ("corrupt", truncated),
    "empty.svs": ("corrupt", lambda path, _: path.touch()),
    "text.svs": ("corrupt", lambda path, _: path.write_text("this is not a slide\n" * 99)),
    "page.svs": ("corrupt", lambda path, _: path.write_text("<!doctype html><html><body>404</body></html>")),
    "archive.svs": ("unsupported", zipped),
    "fluorescence.qptiff": ("unsupported", lambda path, _: fluorescence(path)),
    "no_mpp.tif": ("needs mpp", lambda path, _: plain_tiff(path, noise(389, 613, 3), resolution=None)),
    "grey.tif": ("unsupported", lambda path, _: plain_tiff(path, noise(389, 613), photometric="minisblack")),
    "sixteen.tif": ("unsupported", lambda path, _: plain_tiff(path, noise(389, 613, 3, kind=np.uint16))),
    "folder.svs": ("unsupported", lambda path, _: path.mkdir()),
    "tiles.svs": ("corrupt", broken_tiles),
    "alone.mrxs": ("corrupt", lambda path, _: path.write_bytes(cv2.imencode(".jpg", noise(40, 60, 3))[1].tobytes())),
    "locked.svs": ("failed", lambda path, good: shutil.copy(good, path) and path.chmod(0)),
    "gone.svs": ("failed", lambda path, _: path.symlink_to("nowhere.svs")),
    "zero.tif": ("corrupt", lambda path, _: zero_size(path)),
    "scanner.isyntax": ("unsupported", lambda path, _: path.write_bytes(b"<DataObject ObjectType='DPUfsImport'>")),
    "header.czi": ("corrupt", lambda path, _: path.write_bytes(b"ZISRAWFILE" + bytes(500))),
    "map.ome.zarr": ("corrupt", lambda path, _: path.mkdir() or (path / ".zattrs").write_text("{ not json")),
}  # fmt: skip
"""File -> how it must end, and what makes it."""


def make_archive(folder: Path, good: Path) -> tuple[set[str], dict[str, str]]:
    """Fill a folder with 60 slides, nested and with Unicode names; return the good ones, and the bad ones' status."""
    skipped = {"locked.svs"} if os.geteuid() == 0 else set()  # root may read everything
    bad = {}
    for number, (name, (status, make)) in enumerate(BROKEN.items()):
        if name not in skipped:
            place = folder / ("" if number % 2 else "kaputt/Ä ö")
            place.mkdir(parents=True, exist_ok=True)
            make(place / name, good)
            bad[(place / name).relative_to(folder).as_posix()] = status
    names = set()
    for number in range(60 - len(bad)):
        place = folder / ("", "case 1", "case 2/Blöcke", "case 1/a")[number % 4]
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"slide {number // 4}.svs"
        os.link(good, path)
        names.add(path.relative_to(folder).as_posix())
    (folder / "readme.txt").write_text("not a slide")
    return names, bad


def test_sixty_slides_with_broken_ones_among_them(wsi_her2: Callable[..., Any], small: Path, tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "results"
    archive.mkdir()
    good, bad = make_archive(archive, small)
    assert len(set(BROKEN)) >= 15
    assert len(good) + len(bad) == 60
    outcome = wsi_her2("batch", archive, "-o", out, *SERIAL, out=out, seconds=300)
    assert outcome.code == 12, outcome.stderr
    assert "Traceback" not in outcome.stderr
    rows = summary(out)
    assert set(rows) == good | set(bad)
    assert {name: rows[name]["status"] for name in bad} == bad
    assert Counter(rows[name]["status"] for name in good) == {"scored": len(good)}
    assert {rows[name]["score"] for name in good} == {"3+"}
    for name in good:
        assert json.loads((out / rows[name]["result"]).read_text(encoding="utf-8"))["score"] == "3+"
    assert len({rows[name]["result"] for name in good}) == len(good)
    assert all(rows[name]["message"] and str(tmp_path) not in rows[name]["message"] for name in bad)
    assert not any("unexpected" in rows[name]["message"] for name in bad)
    assert list((out / ".work" / "runs").iterdir()) == []
    written = {name: (out / rows[name]["result"]).stat().st_mtime_ns for name in good}

    again = wsi_her2("batch", archive, "-o", out, *SERIAL, out=out, seconds=300)
    assert again.code == 12
    assert written == {name: (out / rows[name]["result"]).stat().st_mtime_ns for name in good}, "done is done"
    assert {name: row["status"] for name, row in summary(out).items()} == {
        name: row["status"] for name, row in rows.items()
    }  # fmt: skip
