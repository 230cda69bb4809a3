"""The picture of a TIFF is the one that the standard defines: what tifffile decodes, whatever a library draws of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.slide.against_openslide import furthest
from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide

CODECS: dict[str, dict[str, Any]] = {
    "none": {}, "deflate": {"compression": "deflate", "predictor": True}, "lzw": {"compression": "lzw"},
    "packbits": {"compression": "packbits"}, "zstd": {"compression": "zstd"}, "lzma": {"compression": "lzma"},
    "jpeg": {"compression": "jpeg", "subsampling": (1, 1)},
    "jpeg 4:2:2": {"compression": "jpeg", "subsampling": (2, 1)},
    "jpeg 4:2:0": {"compression": "jpeg", "subsampling": (2, 2)},
    "jpeg 4:1:1": {"compression": "jpeg", "subsampling": (4, 1), "tile": (96, 224)},
    "jpeg 2000": {"compression": "jpeg2000"}, "webp": {"compression": "webp"}, "png": {"compression": "png"},
    "jpeg xl": {"compression": "jpegxl"}, "jpeg xr": {"compression": "jpegxr"}, "lerc": {"compression": "lerc"},
}  # fmt: skip
"""Encodings of 8-bit colours, as tifffile's writer names them."""

PLANAR_CODECS = ("none", "deflate", "lzw", "packbits", "zstd", "lzma", "jpeg", "png", "jpeg 2000")
"""Those that store one colour by itself."""

TILE = (112, 208)
RESOLUTION = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}


def write(path: Path, *levels: np.ndarray, byteorder: Any = "<", **options: Any) -> Path:
    """Write a tiled TIFF of the given levels."""
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        for index, level in enumerate(levels):
            settings = {"photometric": "rgb", "tile": TILE, "metadata": None, **RESOLUTION, **options}
            writer.write(level, subfiletype=int(index > 0), **settings)
    return path


def stored(path: Path, level: int) -> np.ndarray:
    """Return a level as tifffile decodes it, (h, w, 3) uint8."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level].aspage()
        pixels = page.asarray()
        return pixels.transpose(1, 2, 0)[..., :3] if page.axes == "SYX" else pixels[..., :3]


def shown(path: Path, level: int, reader: str = "auto") -> np.ndarray:
    """Return a level as our reader shows it, (h, w, 3) uint8."""
    with open_slide(path, reader=reader, require_mpp=False) as slide:
        assert slide.info.level_sizes[level]
        return slide.reader.read_level(level, Box(0, 0, *slide.info.level_sizes[level])).rgb


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_what_tifffile_decodes(
    tmp_path: Path, scan: np.ndarray, quarter: np.ndarray, codec: str, byteorder: str
) -> None:
    path = write(tmp_path / "scan.tif", scan, quarter, byteorder=byteorder, **CODECS[codec])
    for level in (0, 1):
        assert furthest(shown(path, level), stored(path, level)) <= 1


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("codec", PLANAR_CODECS)
def test_separate_planes_are_one_picture(tmp_path: Path, scan: np.ndarray, codec: str, *, tiled: bool) -> None:
    options = {"compression": CODECS[codec].get("compression")} | ({} if tiled else {"tile": None, "rowsperstrip": 40})
    planes = np.ascontiguousarray(scan.transpose(2, 0, 1))
    path = write(tmp_path / "planes.tif", planes, planarconfig="separate", **options)
    ours = shown(path, 0)
    assert furthest(ours, stored(path, 0)) <= 1
    assert furthest(ours, scan) <= (60 if codec == "jpeg" else 0)
    assert np.abs(ours.astype(int) - scan).mean() < 6


@pytest.mark.parametrize("kind", ["unspecified", "undeclared"])
@pytest.mark.parametrize("reader", ["auto", "fast", "tiffslide"])
@pytest.mark.parametrize("extra", [1, 2])
def test_an_extra_sample_that_is_no_alpha_hides_nothing(
    tmp_path: Path, scan: np.ndarray, reader: str, extra: int, kind: str
) -> None:
    pixels = np.concatenate([scan, np.zeros((*scan.shape[:2], extra), np.uint8)], axis=2)
    path = write(tmp_path / "extra.tif", pixels, extrasamples=["unspecified"] * extra, compression="deflate")
    if kind == "undeclared":
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tag = tiff.pages[0].tags["ExtraSamples"]
            tiff.filehandle.seek(tag.offset)
            tiff.filehandle.write((65_000).to_bytes(2, "little"))  # a private tag
    with open_slide(path, reader=reader) as slide:
        pixels_shown = slide.overview(1)
        assert pixels_shown.valid.all()
        assert np.array_equal(pixels_shown.rgb, scan)
        assert not slide.info.openslide


def test_alpha_that_is_declared_counts(tmp_path: Path, scan: np.ndarray) -> None:
    alpha = np.full(scan.shape[:2], 255, np.uint8)
    alpha[:, :200] = 0
    alpha[:, 200:300] = 204
    straight = np.dstack([scan, alpha])
    weight = alpha[..., None] / 255
    multiplied = np.dstack([np.rint(scan * weight).astype(np.uint8), alpha])
    wanted = np.rint(scan * weight + 255 * (1 - weight))
    for name, pixels, kind in (("a", straight, "unassalpha"), ("b", multiplied, "assocalpha")):
        path = write(tmp_path / f"{name}.tif", pixels, extrasamples=[kind], compression="deflate")
        with open_slide(path, reader="fast") as slide:
            view = slide.overview(1)
        assert not view.valid[:, :200].any()
        assert view.valid[:, 200:].all()
        assert furthest(view.rgb[:, 200:], wanted[:, 200:]) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_turned_slides_are_shown_as_they_are_stored(
    tmp_path: Path, scan: np.ndarray, orientation: int, compression: str
) -> None:
    tag = (274, "H", 1, orientation, True)
    path = write(tmp_path / "turned.tif", scan, compression=compression, extratags=[tag])
    with open_slide(path) as slide:
        info, ours = slide.info, slide.overview(1).rgb
    assert furthest(ours, stored(path, 0)) <= 1
    turned = orientation != 1
    assert info.openslide is not turned  # QuPath then reads it by Bio-Formats, which shows it as it is stored too
    assert any(f"Orientation tag is {orientation}" in warning for warning in info.warnings) is turned
    if turned:
        with pytest.raises(UnsupportedSlideError, match="Orientation"):
            open_slide(path, reader="openslide")


PADDINGS = {
    "zeros": bytes(512),
    "ones": b"\xff" * 300,
    "words": b"tile padding " * 20,
    "stray end": bytes(99) + b"\xff\xd9",
}
APERIO = "Aperio Image Library v12|AppMag = 40|MPP = 0.25"


def with_tiles(path: Path, change: Any) -> Path:
    """Write every tile of a TIFF again behind its end, as `change` returns it."""
    with tifffile.TiffFile(path) as tiff:
        order, page = tiff.byteorder, tiff.pages[0].aspage()
        tags = [page.tags[name] for name in ("TileOffsets", "TileByteCounts")]
        places = [(tag.valueoffset, 8 if tag.dtype in {16, 17, 18} else 4) for tag in tags]
        assert all(int(tag.dtype) == 4 for tag in tags)
        spans = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    data = bytearray(path.read_bytes())
    for number, (offset, count) in enumerate(spans):
        tile = change(bytes(data[offset : offset + count]))
        for (start, width), value in zip(places, (len(data), len(tile)), strict=True):
            data[start + number * width : start + (number + 1) * width] = value.to_bytes(
                width, "little" if order == "<" else "big"
            )
        data += tile
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("description", [APERIO, None])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_behind_a_jpeg_costs_nothing(
    tmp_path: Path, scan: np.ndarray, padding: str, byteorder: str, description: str | None
) -> None:
    path = write(tmp_path / "padded.tif", scan, byteorder=byteorder, compression="jpeg", description=description)
    before = shown(path, 0)
    with_tiles(path, lambda tile: tile + PADDINGS[padding])
    with open_slide(path) as slide:
        assert slide.info.reader == "fast"
    assert np.array_equal(shown(path, 0), before)


@pytest.mark.parametrize("cut", ["truncated", "flipped"])
def test_jpegs_that_end_early_are_still_found(tmp_path: Path, scan: np.ndarray, cut: str) -> None:
    def broken(tile: bytes) -> bytes:
        half = len(tile) // 2
        return tile[:half] + (b"\x12\x34" if cut == "truncated" else b"\xff\xd9" + tile[half + 2 :])

    path = write(tmp_path / "cut.tif", scan, compression="jpeg", description=APERIO)
    with pytest.raises(CorruptSlideError):
        open_slide(with_tiles(path, broken), reader="fast").overview(1)
