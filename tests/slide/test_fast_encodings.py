"""Every encoding that scanners and tools write is decoded to what OpenSlide draws."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.slide.against_openslide import (
    TABLES,
    decoded,
    drawn,
    furthest,
    padded_tiles,
    tables_of,
    tag_as_rgb,
    without,
    without_jfif,
)
from wsi_pipeline.errors import UnsupportedSlideError
from wsi_pipeline.slide import open_slide

APERIO = "Aperio Image Library v12|AppMag = 20|MPP = 0.499"
WIDTH, HEIGHT = 613, 389

YCBCR_422 = base64.b85decode(
    "|4;u>051Rl0000m0000W00000000000000m0000W000000000000RdB0S5vB2Lb{AQUDA9000311q1{D0smY86F@*nNKi;fP)JBn"
    "NJvmfNKpS|03`qcLvm$dbY)~9VtF7>aAj^vP(?=|c4cyNX>V>IGA=bPH2;tQ3IG5A009F40soWFv<wBWAIH=L0l&x81PGtNIt)Ib"
    "APE9w$Jzx4&Iky31V6*-0-t~k0nk7PKLiQE^Mixu2oX7B3p;n;z<eP<`2m0ee+xZ-"
    "z!1mU2LK@o3qCRf!1)3|`2qkeTDZ*vf?svP^Mru-LjW90i_Zglf57<yL+S*8d?A1u_m0s6dmINGnjgS?B0zj1fJ-"
    "GmZ&E5t|9`;w13)?$E3W)|E?+ZapTK-0LGy-"
    "yIv6TibSFy_Gh?BuUn?u=ufRGa1EK(e-RIZ0I4Y08d?LURfJ%A-Q$LXAC%`&H2f{=Ej7!Jr8&Of^SCHl^fl`l=zc$^g|Je"
)
"""A JPEG 2000 codestream of 48 x 32 px in YCbCr with chroma of half the width, as Aperio's 33003 has it."""

ENCODINGS = {
    "jpeg ycbcr": {"compression": "jpeg", "photometric": "ycbcr", "tile": (240, 240)},
    "jpeg": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (1, 1), "tile": (256, 256)},
    "jpeg 4:2:0 big": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2), "tile": (512, 512)},
    "jpeg 4:2:2": {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 1), "tile": (112, 64)},
    "lzw": {"compression": "lzw", "predictor": True, "photometric": "rgb", "tile": (240, 240)},
    "deflate": {"compression": "deflate", "predictor": True, "photometric": "rgb", "tile": (256, 256)},
    "deflate plain": {"compression": "deflate", "photometric": "rgb", "tile": (64, 112)},
    "none": {"photometric": "rgb", "tile": (240, 256)},
}
JPEG_2000 = {"33005": (33005, True), "33003": (33003, False)}
"""Aperio's compressions, and whether the encoder turns RGB into YCbCr itself."""


@pytest.fixture
def write_encoded(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of tiles that are encoded here, in the order of the page."""

    def write(tiles: Iterator[bytes], shape: tuple[int, int, int], tile: tuple[int, int], **options: Any) -> Path:
        path = tmp_path / "encoded.svs"
        settings = {"photometric": "rgb", "description": APERIO, "metadata": None, **options}
        tifffile.imwrite(path, tiles, shape=shape, dtype=np.uint8, tile=tile, **settings)
        return path

    return write


@pytest.mark.parametrize("description", [APERIO, None])
@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", True)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_level_of_every_encoding_is_what_openslide_draws(  # type: ignore[no-untyped-def]
    tmp_path: Path, scan: np.ndarray, quarter: np.ndarray, encoding: str, byteorder, bigtiff: bool, description
) -> None:
    path = tmp_path / "scan.svs"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for index, level in enumerate((scan, quarter)):
            options = {"description": description, "subfiletype": int(index > 0), "metadata": None}
            writer.write(level, **options, **ENCODINGS[encoding])
    with open_slide(path, require_mpp=False) as slide:
        info = slide.info
    assert (info.reader, info.warnings, info.openslide) == ("fast", (), True)
    assert info.vendor == ("aperio" if description else "generic-tiff")
    for index, level in enumerate((scan, quarter)):
        ours = decoded(path, index)
        assert np.array_equal(ours, drawn(path, index))
        if "jpeg" not in encoding:
            assert np.array_equal(ours, level)
        assert np.array_equal(ours, decoded(path, index, threads=3))


@pytest.mark.parametrize("compression", JPEG_2000)
def test_aperio_jpeg_2000_is_what_openslide_draws(
    write_encoded: Callable[..., Path], scan: np.ndarray, compression: str
) -> None:
    code, mct = JPEG_2000[compression]
    stored = scan if mct else cv2.cvtColor(scan, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    tiles = (imagecodecs.jpeg2k_encode(tile, codecformat="j2k", mct=mct) for tile in padded_tiles(stored, 240))
    path = write_encoded(tiles, scan.shape, (240, 240), compression=code)
    with open_slide(path) as slide:
        assert (slide.info.reader, slide.info.warnings) == ("fast", ())
    ours = decoded(path, 0)
    assert furthest(ours, drawn(path, 0)) <= 1
    assert furthest(ours, scan) <= (0 if mct else 2)  # to YCbCr and back is rounded twice


def test_jpeg_2000_with_chroma_of_half_the_width(write_encoded: Callable[..., Path]) -> None:
    path = write_encoded(iter([YCBCR_422] * 6), (61, 131, 3), (32, 48), compression=33003)
    assert furthest(decoded(path, 0), drawn(path, 0)) <= 1
    assert decoded(path, 0).reshape(-1, 3).std(axis=0).min() > 20


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
def test_jpeg_as_scanners_write_it(
    write_encoded: Callable[..., Path], scan: np.ndarray, colours: str, tables: bool
) -> None:
    options = {"level": 95, "colorspace": "RGB", "outcolorspace": colours, "subsampling": "444"}
    tiles = [without_jfif(imagecodecs.jpeg8_encode(tile, **options)) for tile in padded_tiles(scan, 240)]
    more: dict[str, Any] = {}
    if tables:
        kept = tables_of(tiles[0])
        tiles = [without(tile, TABLES) for tile in tiles]
        more["extratags"] = [(347, 7, len(kept), kept, True)]
    path = write_encoded(iter(tiles), scan.shape, (240, 240), compression="jpeg", photometric="ycbcr", **more)
    if colours == "RGB":
        tag_as_rgb(path)
    with open_slide(path) as slide:
        assert (slide.info.reader, slide.info.warnings) == ("fast", ())
    assert np.array_equal(decoded(path, 0), drawn(path, 0))
    assert np.abs(decoded(path, 0).astype(int) - scan).mean() < 12


def test_jfif_tagged_rgb_is_what_it_was_made_from(write_encoded: Callable[..., Path]) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramp = np.dstack([x / 3, y / 2, 255 - x / 3]).astype(np.uint8)
    tiles = [imagecodecs.jpeg8_encode(tile, level=95) for tile in padded_tiles(ramp, 128)]
    assert b"JFIF" in tiles[0]
    path = write_encoded(iter(tiles), ramp.shape, (128, 128), compression="jpeg", photometric="ycbcr")
    tag_as_rgb(path)
    assert furthest(decoded(path, 0), ramp) < 12
    assert furthest(drawn(path, 0), ramp) > 100
    with open_slide(path) as slide:
        assert (slide.info.reader, slide.info.openslide) == ("fast", False)
        assert "viewers built on OpenSlide" in slide.info.warnings[0]
        assert np.array_equal(slide.overview(1).rgb, tifffile.imread(path))
    with pytest.raises(UnsupportedSlideError, match="not shown by OpenSlide"):
        open_slide(path, reader="openslide")
