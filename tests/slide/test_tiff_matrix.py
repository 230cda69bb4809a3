"""Every codec, byte order, odd tile and subsampling at every level: what tifffile decodes, and libvips where it can."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.slide.against_openslide import furthest, padded_tiles
from wsi_pipeline.errors import UnsupportedSlideError
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide

CODECS: dict[str, Any] = {
    "none": None,
    "packbits": "packbits",
    "lzw": "lzw",
    "deflate": 8,
    "old deflate": 32946,
    "zstd": "zstd",
    "lzma": "lzma",
    "jpeg": "jpeg",
    "jpeg 2000": "jpeg2000",
    "aperio 33005": 33005,
    "png": "png",
    "webp": "webp",
    "jpeg xl": "jpegxl",
    "jpeg xr": "jpegxr",
    "lerc": "lerc",
}
LAYOUTS = [(codec, planar) for codec in CODECS for planar in (False, True) if not (codec == "webp" and planar)]
"""Colours together or in planes; WebP has no picture of one colour."""

PREDICTED = ("lzw", "deflate", "old deflate", "zstd", "lzma")
BY_LIBVIPS = ("none", "packbits", "lzw", "deflate", "jpeg", "webp")
PIECES: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (80, 48)},
    "one tile": {"tile": (144, 208)},
    "strips": {"rowsperstrip": 37},
}
TURNED = [(274, 3, 1, 3, True)]
SUBSAMPLINGS = ("444", "422", "420", "411", "440")


@pytest.fixture(scope="module")
def levels(scan: np.ndarray) -> list[np.ndarray]:
    """Return two levels, 181 x 131 and 90 x 65 px, no whole number apart."""
    level = np.ascontiguousarray(scan[:131, :181])
    return [level, cv2.resize(level, (90, 65), interpolation=cv2.INTER_AREA)]


def write(path: Path, levels: list[np.ndarray], byteorder: Any, **options: Any) -> Path:
    """Write the levels with the same options."""
    planar = options.get("planarconfig") == "separate"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=byteorder == ">") as writer:
        for index, level in enumerate(levels):
            pixels = np.ascontiguousarray(level.transpose(2, 0, 1)) if planar else level
            writer.write(pixels, subfiletype=int(index > 0), metadata=None, **options)
    return path


def by_tifffile(path: Path, page: int) -> np.ndarray:
    """Return a page as tifffile decodes it, (h, w, 3)."""
    with tifffile.TiffFile(path) as tiff:
        pixels = tiff.pages[page].asarray()
        return pixels if pixels.shape[2] == 3 else pixels.transpose(1, 2, 0)


def by_libvips(path: Path, page: int) -> np.ndarray:
    """Return a page as libvips decodes it, (h, w, 3)."""
    pyvips = pytest.importorskip("pyvips", reason="libvips is not installed: pip install pyvips pyvips-binary")
    return np.asarray(pyvips.Image.new_from_file(str(path), page=page, revalidate=True))


def assert_alike(path: Path, *oracles: Any) -> None:
    """Hold every level against what the oracles decode."""
    with open_slide(path, require_mpp=False) as slide:
        info = slide.info
        assert info.reader in {"fast", "tiffslide"}
        assert all("OpenSlide" in warning and not info.openslide for warning in info.warnings)
        assert len(info.level_sizes) == 2
        for level, size in enumerate(info.level_sizes):
            read = slide.reader.read_level(level, Box(0, 0, *size))
            assert read.valid is None
            for oracle in oracles:
                assert furthest(read.rgb, oracle(path, level)) <= 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(("codec", "planar"), LAYOUTS)
def test_every_codec_is_what_tifffile_decodes(
    tmp_path: Path, levels: list[np.ndarray], codec: str, planar: bool, pieces: str, byteorder: str
) -> None:
    options = {"photometric": "ycbcr" if codec == "jpeg" and not planar else "rgb", "compression": CODECS[codec]}
    options |= {"planarconfig": "separate" if planar else "contig"}
    path = write(tmp_path / "scan.tif", levels, byteorder, **options, **PIECES[pieces])
    # libvips reads neither tiles that are larger than the image nor planes in tiles
    with_libvips = codec in BY_LIBVIPS and (pieces == "strips" or (pieces == "tiles" and not planar))
    assert_alike(path, by_tifffile, *([by_libvips] if with_libvips else []))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("codec", PREDICTED)
def test_differences_and_reversed_bits(
    tmp_path: Path, levels: list[np.ndarray], codec: str, planar: bool, byteorder: str
) -> None:
    options = {"photometric": "rgb", "compression": CODECS[codec], "tile": (80, 48)}
    options |= {"planarconfig": "separate" if planar else "contig"}
    assert_alike(write(tmp_path / "predicted.tif", levels, byteorder, predictor=2, **options), by_tifffile)
    reversed_bits = [(266, 3, 1, 2, True)]
    path = write(tmp_path / "reversed.tif", levels, byteorder, extratags=reversed_bits, **options)
    assert_alike(path, by_tifffile)


@pytest.mark.parametrize("pieces", ["tiles", "strips"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_uncompressed_with_reversed_bits(tmp_path: Path, levels: list[np.ndarray], byteorder: str, pieces: str) -> None:
    options = {"photometric": "rgb", "extratags": [(266, 3, 1, 2, True)], **PIECES[pieces]}
    assert_alike(write(tmp_path / "reversed.tif", levels, byteorder, **options), by_tifffile, by_libvips)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("side", [32, 96, 224])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
def test_every_subsampling_is_what_tifffile_decodes(
    tmp_path: Path, levels: list[np.ndarray], subsampling: str, side: int, byteorder: str
) -> None:
    encode = partial(imagecodecs.jpeg8_encode, level=92, subsampling=subsampling)

    def tiles(level: np.ndarray) -> Iterator[bytes]:
        return (encode(tile) for tile in padded_tiles(level, side))

    path = tmp_path / "jpeg.tif"
    across, down = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "411": (4, 1), "440": (1, 2)}[subsampling]
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=byteorder == ">") as writer:
        for index, level in enumerate(levels):
            writer.write(
                tiles(level), shape=level.shape, dtype=np.uint8, tile=(side, side), compression="jpeg", metadata=None,
                photometric="ycbcr", subfiletype=int(index > 0), extratags=[(530, 3, 2, (across, down), True)],
            )  # fmt: skip
    assert_alike(path, by_tifffile, *([by_libvips] if side < 224 else []))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tag", [33003, 33005])
def test_aperio_s_own_jpeg_2000(tmp_path: Path, levels: list[np.ndarray], tag: int, byteorder: str) -> None:
    ycbcr = [cv2.cvtColor(level, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]] for level in levels]
    stored = [np.ascontiguousarray(level) for level in ycbcr] if tag == 33003 else levels

    def tiles(level: np.ndarray) -> Iterator[bytes]:
        encode = partial(imagecodecs.jpeg2k_encode, codecformat="j2k", mct=tag == 33005)
        return (encode(tile) for tile in padded_tiles(level, 80))

    path = tmp_path / "aperio.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=byteorder == ">") as writer:
        for index, level in enumerate(stored):
            writer.write(
                tiles(level), shape=level.shape, dtype=np.uint8, tile=(80, 80), compression=tag, metadata=None,
                photometric="rgb", subfiletype=int(index > 0),
            )  # fmt: skip

    def as_rgb(path: Path, page: int) -> np.ndarray:
        pixels = by_tifffile(path, page)
        return pixels if tag == 33005 else cv2.cvtColor(pixels[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)

    assert_alike(path, as_rgb)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("codec", ["lzw", "zstd"])
def test_ycbcr_outside_jpeg_is_left_to_openslide_or_refused(
    tmp_path: Path, levels: list[np.ndarray], codec: str, byteorder: str
) -> None:
    ycbcr = np.ascontiguousarray(cv2.cvtColor(levels[0], cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])
    options = {"photometric": "ycbcr", "compression": CODECS[codec]}
    path = write(tmp_path / "ycbcr.tif", [ycbcr], byteorder, tile=(80, 48), **options)
    with open_slide(path, require_mpp=False) as slide:
        assert slide.info.reader == "openslide"
        assert furthest(slide.overview(1).rgb, levels[0]) <= 3  # to YCbCr and back is rounded twice
    turned = write(tmp_path / "turned.tif", [ycbcr], byteorder, tile=(80, 48), extratags=TURNED, **options)
    with pytest.raises(UnsupportedSlideError, match=r"Orientation tag \(3\) and colours that only OpenSlide decodes"):
        open_slide(turned, require_mpp=False)
    strips = write(tmp_path / "strips.tif", [ycbcr], byteorder, rowsperstrip=37, **options)
    with pytest.raises(UnsupportedSlideError, match=f"holds YCbCr colours in {codec.upper()}"):
        open_slide(strips, require_mpp=False)
