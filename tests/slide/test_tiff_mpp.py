"""Pixel sizes that TIFF tags and ImageJ state, of any numeric type; what states nothing is no error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import MissingMppError
from wsi_pipeline.slide import open_slide


def write(path: Path, scan: np.ndarray, *, byteorder: str = "<", tile: bool = True, **options: object) -> Path:
    """Write a tiled TIFF whose resolution is 4 px/um, as ratios, per centimetre."""
    settings = {"photometric": "rgb", "metadata": None, "resolution": (40_000, 38_000), "resolutionunit": 3}
    tifffile.imwrite(path, scan, byteorder=byteorder, tile=(64, 64) if tile else None, **settings | options)
    return path


def retag(path: Path, name: str, dtype: int, value: bytes) -> None:
    """Give a tag another type and value, of one number; values of more than 4 bytes overwrite the old ratio."""
    with tifffile.TiffFile(path) as tiff:
        tag, order = tiff.pages[0].tags[name], tiff.byteorder
        entry, place = tag.offset, tag.valueoffset
    with path.open("r+b") as file:
        file.seek(entry + 2)
        file.write(struct.pack(f"{order}HI", dtype, 1))
        file.seek(entry + 8 if len(value) <= 4 else place)
        file.write(value)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "code", "number"),
    [
        (3, "H", (40_000,)),
        (4, "I", (40_000,)),
        (11, "f", (40_000.0,)),
        (12, "d", (40_000.0,)),
        (10, "ii", (80_000, 2)),
        (5, "II", (120_000, 3)),
    ],
)
def test_resolution_tags_of_any_type(tmp_path, scan, byteorder, dtype, code, number) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "scan.tif", scan, byteorder=byteorder)
    value = struct.pack(byteorder + code, *number)
    for name in ("XResolution", "YResolution"):
        retag(path, name, dtype, value if len(value) > 4 else value.ljust(4, b"\0"))
    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx((0.25, 0.25))
        assert slide.info.mpp_source == "TIFF resolution tags"


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("name", "dtype", "value"),
    [
        ("ResolutionUnit", 3, ("HH", 9, 0)),
        ("ResolutionUnit", 3, ("HH", 0, 0)),
        ("XResolution", 5, ("II", 40_000, 0)),
        ("XResolution", 5, ("II", 0, 1)),
        ("YResolution", 10, ("ii", -40_000, 1)),
        ("YResolution", 11, ("f", float("nan"))),
        ("XResolution", 12, ("d", float("inf"))),
        (
            "XResolution",
            2,
            (
                "4s",
                b"abc\0",
            ),
        ),
    ],
)
def test_tags_that_state_nothing_are_no_error(tmp_path, scan, byteorder, name, dtype, value) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "scan.tif", scan, byteorder=byteorder, tile=byteorder == "<")
    code, *numbers = value
    retag(path, name, dtype, struct.pack(byteorder + code, *numbers))
    with pytest.raises(MissingMppError):
        open_slide(path)
    with open_slide(path, mpp=0.25) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)


@pytest.mark.parametrize(
    ("unit", "per_unit", "mpp"),
    [
        ("micron", 4, 0.25), ("um", 4, 0.25), ("\\u00B5m", 4, 0.25), ("mm", 4_000, 0.25), ("cm", 40_000, 0.25),
        ("nm", 1 / 250, 0.25), ("inch", 101_600, 0.25),
    ],
)  # fmt: skip
def test_imagej_states_px_per_unit(tmp_path: Path, scan: np.ndarray, unit: str, per_unit: float, mpp: float) -> None:
    path = write(
        tmp_path / "scan.tif", scan, tile=False, description=f"ImageJ=1.54f\nimages=1\nunit={unit}\nloop=false\n",
        resolution=(per_unit, per_unit), resolutionunit=1,
    )  # fmt: skip
    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx((mpp, mpp))
        assert slide.info.mpp_source == "metadata:ImageJ unit"
        assert not slide.info.warnings


def test_imagej_without_a_unit_of_length_states_nothing(tmp_path: Path, scan: np.ndarray) -> None:
    for name, unit in (("a.tif", "unit=pixel\n"), ("b.tif", "")):
        description = f"ImageJ=1.54f\nimages=1\n{unit}loop=false\n"
        path = write(tmp_path / name, scan, description=description, resolution=(4, 4), resolutionunit=1)
        with pytest.raises(MissingMppError):
            open_slide(path)
