"""TIFFs whose directories say what cannot be: refused in one sentence before any library looks at them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError, MissingMppError, UnsupportedSlideError
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.tiff_structure import check_structure

KINDS = ((False, "<"), (False, ">"), (True, "<"), (True, ">"))
"""Classic or BigTIFF, and the byte order."""

Patch = Callable[..., None]


@pytest.fixture(params=KINDS, ids=["classic II", "classic MM", "big II", "big MM"])
def tiff(request: pytest.FixtureRequest, tmp_path: Path, scan: np.ndarray, quarter: np.ndarray) -> Path:
    """Return a TIFF of a tiled level, a smaller one, and a label in strips."""
    is_big, order = request.param
    path = tmp_path / "scan.tif"
    with tifffile.TiffWriter(path, bigtiff=is_big, byteorder=order) as writer:
        options: dict[str, Any] = {"photometric": "rgb", "metadata": None}
        writer.write(scan, tile=(64, 64), compression="deflate", **options)
        writer.write(quarter, tile=(64, 64), compression="deflate", subfiletype=1, **options)
        writer.write(quarter[:50, :40], rowsperstrip=16, **options)
    return path


def patch(path: Path, page: int, name: str, **changes: int) -> None:
    """Change the `tag`, `type`, `count` or first `value` that an entry of a page states."""
    with tifffile.TiffFile(path) as opened:
        order, is_big = opened.byteorder, opened.is_bigtiff
        entry = opened.pages[page].aspage().tags[name]
        place, value_at, width = entry.offset, entry.valueoffset, {3: 2, 4: 4, 16: 8}.get(int(entry.dtype), 4)
    fields = {
        "tag": (place, "H"),
        "type": (place + 2, "H"),
        "count": (place + 4, "Q" if is_big else "I"),
        "value": (value_at, {2: "H", 4: "I", 8: "Q"}[width]),
    }
    with path.open("r+b") as file:
        for change, number in changes.items():
            at, code = fields[change]
            file.seek(at)
            file.write(struct.pack(order + code, number))


def pointers(path: Path) -> tuple[list[int], str]:
    """Return where the pointer behind each directory lies, and how struct calls it."""
    with tifffile.TiffFile(path) as opened:
        code = opened.byteorder + ("Q" if opened.is_bigtiff else "I")
        step, head = (20, 8) if opened.is_bigtiff else (12, 2)
        return [page.offset + head + step * len(page.aspage().tags) for page in opened.pages], code


def write(path: Path, at: int, code: str, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(code, number))


def refused(path: Path, words: str, kind: type[Exception] = CorruptSlideError) -> None:
    with pytest.raises(kind, match=words) as raised:
        open_slide(path, mpp=0.25)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


def test_a_sound_one_passes(tiff: Path) -> None:
    check_structure(tiff)
    with open_slide(tiff, mpp=0.25) as slide:
        assert slide.info.size_l0 == (613, 389)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_images_in_a_circle(tiff: Path, target: int) -> None:
    places, code = pointers(tiff)
    with tifffile.TiffFile(tiff) as opened:
        offset = opened.pages[target].offset
    write(tiff, places[2], code, offset)
    refused(tiff, "run in a circle at image 4")


def test_an_image_that_begins_beyond_the_end(tiff: Path) -> None:
    places, code = pointers(tiff)
    write(tiff, places[1], code, 2**31)
    refused(tiff, "is truncated: image 3 begins beyond its end")


def test_a_directory_that_ends_beyond_the_end(tiff: Path) -> None:
    places, code = pointers(tiff)
    write(tiff, places[2], code, tiff.stat().st_size - 1)
    refused(tiff, "is truncated: a TIFF that ends before byte")


@pytest.mark.parametrize("count", [0, 5000])
def test_a_directory_of_impossibly_many_tags(tiff: Path, count: int) -> None:
    with tifffile.TiffFile(tiff) as opened:
        at, code = opened.pages[1].offset, opened.byteorder + ("Q" if opened.is_bigtiff else "H")
    write(tiff, at, code, count)
    refused(tiff, f"image 2 has {count} tags")


@pytest.mark.parametrize(
    ("page", "name", "change", "words"),
    [
        (0, "TileWidth", {"value": 0}, "image 1 states 0 for TileWidth"),
        (1, "TileLength", {"value": 0}, "image 2 states 0 for TileLength"),
        (0, "TileWidth", {"type": 11}, "image 1 has the tag TileWidth of type 11"),
        (1, "TileLength", {"type": 2}, "image 2 has the tag TileLength of type 2"),
        (0, "ImageWidth", {"type": 99}, "image 1 has the tag ImageWidth of type 99"),
        (0, "ImageLength", {"value": 0}, "image 1 states 0 for ImageLength"),
        (0, "TileWidth", {"count": 65535}, "states 65535 values for TileWidth"),
        (0, "TileOffsets", {"type": 11}, "has the tag TileOffsets of type 11"),
        (0, "TileOffsets", {"count": 69}, "has 69 TileOffsets for 70 tiles"),
        (1, "TileByteCounts", {"count": 5}, "has 5 TileByteCounts for 6 tiles"),
        (0, "TileOffsets", {"count": 2**30}, "is truncated: TileOffsets of image 1 lies beyond its end"),
        (0, "TileOffsets", {"tag": 60000}, "does not say where its tiles lie"),
        (2, "StripOffsets", {"count": 3}, "has 3 StripOffsets for 4 strips"),
        (2, "RowsPerStrip", {"value": 0}, "states 0 for RowsPerStrip"),
        (0, "Compression", {"value": 12345}, "states 12345 for Compression"),
        (1, "PhotometricInterpretation", {"value": 7}, "states 7 for PhotometricInterpretation"),
        (0, "PlanarConfiguration", {"value": 3}, "states 3 for PlanarConfiguration"),
        (0, "BitsPerSample", {"value": 4096}, "impossible BitsPerSample|beyond its end"),
        (0, "Compression", {"value": 1}, "states no compression, and stores"),
        (1, "Compression", {"tag": 60000}, "image 2 states no compression"),
        (0, "SamplesPerPixel", {"value": 0}, "states 0 for SamplesPerPixel"),
        (0, "BitsPerSample", {"value": 0}, "impossible BitsPerSample"),
        (1, "NewSubfileType", {"tag": 323}, "has the tag TileLength twice"),
        (1, "NewSubfileType", {"tag": 330, "value": 3}, "is no sound TIFF|is truncated"),
        (1, "NewSubfileType", {"tag": 330, "value": 2**31}, "is truncated: image 2.1 begins beyond its end"),
        (0, "ImageLength", {"type": 4, "value": 2**31 - 1}, "has the tag|more than a metre of glass|lies beyond"),
    ],
)
def test_tags_that_cannot_be(tiff: Path, page: int, name: str, change: dict[str, int], words: str) -> None:
    patch(tiff, page, name, **change)
    refused(tiff, words)


def test_one_side_of_tiles_beside_strips(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.svs"
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": "jpeg"}
    flat = [(32997, "I", 1, 1, False)]  # ImageDepth, as Aperio writes it
    with tifffile.TiffWriter(path) as writer:
        description = "Aperio Image Library v12\r\n613x389 (64x64)|MPP = 0.25"
        writer.write(scan, tile=(64, 64), description=description, extratags=flat, **options)
        writer.write(scan[:50, :40], rowsperstrip=16, extratags=flat, **options)
    with open_slide(path) as slide:
        assert slide.info.size_l0 == (613, 389)
    patch(path, 1, "PlanarConfiguration", tag=323)  # OpenSlide would divide by the other side, which is 0
    refused(path, "image 2 states one side of its tiles only")


def test_volumes_are_no_slides(tmp_path: Path) -> None:
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, np.zeros((32, 64, 48, 3), np.uint8), photometric="rgb", tile=(16, 16, 16), volumetric=True)
    refused(path, "is a volume", UnsupportedSlideError)


def test_more_images_than_a_scan_can_have(tiff: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_pipeline.slide.tiff_directory.IMAGES_MAX", 2)
    refused(tiff, "holds more than 2 images", UnsupportedSlideError)


def test_tiles_that_no_machine_holds(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, scan[:64, :64], photometric="rgb", tile=(64, 64), compression="deflate", metadata=None)
    for name in ("TileWidth", "TileLength"):
        patch(path, 0, name, type=4, value=2**20)
    refused(path, "too large to decode at once", UnsupportedSlideError)


def test_signed_bytes_are_said_to_be_signed(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "signed.tif"
    tifffile.imwrite(path, (scan // 2).astype(np.int8), photometric="rgb", tile=(64, 64), byteorder=">")
    refused(path, "colours of type int8", UnsupportedSlideError)


@pytest.mark.parametrize("change", [{"type": 11}, {"type": 3}, {"value": 0}, {"type": 2}])
def test_odd_resolution_tags_leave_sound_pixels_readable(tiff: Path, scan: np.ndarray, change: dict[str, int]) -> None:
    patch(tiff, 0, "XResolution", **change)
    with pytest.raises(MissingMppError):
        open_slide(tiff)
    with open_slide(tiff, mpp=0.25) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)


@pytest.mark.parametrize("small", [(32, 16), (16, 16)])  # OpenSlide takes the second for a pyramid of 300 levels
def test_many_images_are_read_once_each(
    tmp_path: Path, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch, small: tuple[int, int]
) -> None:
    path = tmp_path / "many.tif"
    options: dict[str, Any] = {"photometric": "rgb", "tile": (16, 16), "metadata": None, "compression": "jpeg"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(scan[:320, :480], **options)
        for _ in range(299):
            writer.write(scan[: small[0], : small[1]], **options)
    read, opened = [], []
    page, handle = tifffile.TiffPage.__init__, openslide.OpenSlide.__init__
    monkeypatch.setattr(tifffile.TiffPage, "__init__", lambda *args, **more: (read.append(1), page(*args, **more))[1])
    monkeypatch.setattr(openslide.OpenSlide, "__init__", lambda *args: (opened.append(1), handle(*args))[1])
    with open_slide(path, mpp=0.25) as slide:
        assert slide.info.size_l0 == (480, 320)
    assert len(read) <= 3 * 300
    assert len(opened) <= 3


@pytest.mark.parametrize("at", [64, 2**32 + 1000])
def test_hamamatsus_offsets_of_64_bits(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a.ndpi"
    tags = {256: 613, 257: 389, 258: 8, 259: 7, 262: 6, 273: 2048, 277: 1, 279: 100, 65420: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    entries += struct.pack("<HHII", 270, 2, 10, (at + 500) % 2**32)
    high = struct.pack("<10I", *[0] * 9, (at + 500) >> 32)
    with path.open("wb") as file:
        file.write(b"II*\0" + struct.pack("<Q", at))
        file.seek(at)
        file.write(struct.pack("<H", 10) + entries + bytes(8) + high)
        file.truncate(at + 3000)
    check_structure(path)
    write(path, at + 2 + 12 * 10, "<Q", at)
    with pytest.raises(CorruptSlideError, match="in a circle at image 2"):
        check_structure(path)
    write(path, at + 2 + 12 * 10, "<Q", 0)
    write(path, at + 2 + 12 * 10 + 8 + 4 * 9, "<I", 9)
    with pytest.raises(CorruptSlideError, match="ImageDescription of image 1 lies beyond its end"):
        check_structure(path)
