"""Files whose headers lead in circles or nowhere, at the command line: one sentence each, and the rest goes on."""

from __future__ import annotations

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
