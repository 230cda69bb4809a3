"""Files whose headers lead in circles or nowhere, at the command line: one sentence each, and the rest goes on."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a sound slide, one in a circle, one that trips a library, a pipe, and one that hangs."""
    folder = tmp_path_factory.mktemp("slides")
    shutil.copy(Path(__file__).parents[2] / "sample_slides" / "phantom_null.svs", folder / "sound.svs")
    pixels = np.random.default_rng(3).integers(0, 255, (389, 613, 3), np.uint8)
    tifffile.imwrite(folder / "circle.tif", pixels, photometric="rgb", tile=(64, 64), metadata=None)
    with tifffile.TiffFile(folder / "circle.tif") as tiff:
        first = tiff.pages.first
        after = first.offset + 2 + 12 * len(first.tags)
    with (folder / "circle.tif").open("r+b") as file:
        file.seek(after)
        file.write(first.offset.to_bytes(4, "little"))
    tifffile.imwrite(
        folder / "philips.tiff", pixels, photometric="rgb", tile=(64, 64), metadata=None, software="Philips DP v1.0",
        description='<?xml version="1.0" ?><DataObject ObjectType="DPUfsImport"></DataObject>',
    )  # fmt: skip
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.svs")
        (folder / "hangs.zarr").mkdir()
        os.mkfifo(folder / "hangs.zarr" / ".zattrs")
    return folder


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wsi_pipeline.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_dry_run_names_each_and_goes_on(folder: Path) -> None:
    done = call("batch", str(folder), "--dry-run", "--set", "engine.open_seconds=2")
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines()[:-1])
    assert said["circle.tif"].startswith("corrupt: is no sound TIFF: its images run in a circle at image 2")
    assert said["philips.tiff"].startswith("corrupt: ")
    assert "mm2" in said["sound.svs"]
    if hasattr(os, "mkfifo"):
        assert said["pipe.svs"].startswith("unsupported: is no file but a pipe or a device")
        assert said["hangs.zarr"].startswith("corrupt: could not be opened within 2 seconds")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "code"), [("circle.tif", 4), ("philips.tiff", 4), ("pipe.svs", 5)])
def test_each_ends_in_one_sentence(folder: Path, name: str, code: int) -> None:
    if not (folder / name).exists():
        pytest.skip("no pipes in the file system here")
    done = call("info", str(folder / name))
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr


CRASHES = """
import os, signal
import openslide

detect = openslide.OpenSlide.detect_format

def crash(path):
    if str(path).endswith("crash.svs"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return detect(path)

openslide.OpenSlide.detect_format = crash
"""
"""What Python runs first in every process: a library that breaks on slides of a name."""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("words", [("--dry-run",), ("-o", "out", "--set", "engine.executor=serial")])
def test_a_slide_that_crashes_a_library_ends_no_batch(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "sitecustomize.py").write_text(CRASHES)
    sample = Path(__file__).parents[2] / "sample_slides" / "phantom_null.svs"
    (tmp_path / "slides").mkdir()
    for name in ("1.svs", "2 crash.svs", "3.svs", "4 crash.svs"):
        shutil.copy(sample, tmp_path / "slides" / name)
    command = [sys.executable, "-m", "wsi_pipeline.cli.main", "batch", "slides", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2])))}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if words[0] == "--dry-run":
        assert done.returncode == 0, done.stderr
        said = dict(line.split(": ", 1) for line in done.stdout.splitlines()[:-1])
        assert "mm2" in said["1.svs"]
        assert "mm2" in said["3.svs"]
        messages = [said[name] for name in ("2 crash.svs", "4 crash.svs")]
    else:
        assert done.returncode == 12, done.stderr
        with (tmp_path / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["slide"]: row for row in csv.DictReader(file)}
        assert rows["1.svs"]["status"] == rows["3.svs"]["status"] == "scored"
        messages = [f"{rows[name]['status']}: {rows[name]['message']}" for name in ("2 crash.svs", "4 crash.svs")]
    for message in messages:
        assert message.startswith("corrupt: ended the process that opened it (SIGSEGV)")
