"""Every file that is no slide ends in the error that says why."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_pipeline.errors import (
    CorruptSlideError,
    MissingMppError,
    ResourceError,
    UnsupportedSlideError,
    UsageError,
    WsiHer2Error,
)
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide


def fails(path: Path, kind: type[WsiHer2Error], words: str, **options: object) -> None:
    with pytest.raises(kind, match=words) as raised:
        open_slide(path, **{"mpp": 0.25, **options})  # type: ignore[arg-type]
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


def test_files_that_are_no_slides(tmp_path: Path) -> None:
    fails(tmp_path / "gone.svs", UsageError, "no such file")
    fails(tmp_path, UnsupportedSlideError, "is a folder")
    (tmp_path / "empty.svs").touch()
    fails(tmp_path / "empty.svs", CorruptSlideError, "is empty")
    (tmp_path / "text.svs").write_text("not a slide\n")
    fails(tmp_path / "text.svs", CorruptSlideError, "is not an image")
    (tmp_path / "header.tif").write_bytes(b"II*\0\x08\0\0\0")
    fails(tmp_path / "header.tif", CorruptSlideError, "TIFF")
    (tmp_path / "page.tif").write_bytes(b"II*\0\x08\0\0\0\x00\x00\x00\x00\x00\x00")
    fails(tmp_path / "page.tif", CorruptSlideError, "TIFF")
    (tmp_path / "scan.gif").write_bytes(b"GIF89a" + bytes(100))
    fails(tmp_path / "scan.gif", UnsupportedSlideError, "format GIF")
    (tmp_path / "scan.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    fails(tmp_path / "scan.czi", CorruptSlideError, "cannot be opened")


def test_mirax_without_its_folder_is_not_taken_for_its_label_photograph(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "a.mrxs"
    Image.fromarray(scan).save(path, "JPEG")
    fails(path, CorruptSlideError, "data folder a ")


@pytest.mark.parametrize("reader", ["auto", "fast", "openslide", "tiffslide"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_slides_are_corrupt(svs: Path, share: float, reader: str) -> None:
    svs.write_bytes(svs.read_bytes()[: int(svs.stat().st_size * share)])
    fails(svs, CorruptSlideError, "(?i)truncated|TIFF|cannot be opened|not an image", reader=reader)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.8])
def test_truncated_ome_tiffs_are_corrupt(ome: Path, share: float) -> None:
    ome.write_bytes(ome.read_bytes()[: int(ome.stat().st_size * share)])
    fails(ome, CorruptSlideError, "truncated|TIFF|unreadable metadata")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_images_are_corrupt(tmp_path: Path, scan: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"scan.{suffix}"
    Image.fromarray(scan).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    fails(path, CorruptSlideError, "damaged")


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize(
    ("dtype", "channels", "options", "words"),
    [
        (np.uint8, 1, {"photometric": "minisblack"}, "not brightfield"),
        (np.uint16, 1, {"photometric": "minisblack"}, "not brightfield"),
        (np.uint16, 3, {"photometric": "rgb"}, "16 bits"),
        (np.uint8, 5, {"photometric": "minisblack", "planarconfig": "contig"}, "not brightfield"),
        (np.uint8, 4, {"photometric": "separated"}, "not brightfield"),
    ],
)
def test_tiffs_that_are_not_8_bit_rgb(tmp_path: Path, tile, dtype, channels, options, words) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "scan.tif"
    pixels = np.zeros((389, 613, channels) if channels > 1 else (389, 613), dtype)
    tifffile.imwrite(path, pixels, tile=tile, **options)
    fails(path, UnsupportedSlideError, words)


def test_multiplex_channels_are_not_taken_for_rgb(tmp_path: Path) -> None:
    path = tmp_path / "plex.ome.tif"
    tifffile.imwrite(path, np.zeros((3, 389, 613), np.uint8), photometric="minisblack", metadata={"axes": "CYX"})
    fails(path, UnsupportedSlideError, "not brightfield")
    tifffile.imwrite(path, np.zeros((4, 389, 613, 3), np.uint8), photometric="rgb", metadata={"axes": "ZYXS"})
    fails(path, UnsupportedSlideError, "not one RGB plane")


def test_ycbcr_without_jpeg_is_not_shown_in_false_colours(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, scan, photometric="ycbcr", compression="lzw")
    fails(path, UnsupportedSlideError, "YCbCr")


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "CMYK", "1"])
def test_images_that_are_not_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("scan.jpg" if mode == "CMYK" else "scan.png")
    Image.new(mode, (613, 389)).save(path)
    fails(path, UnsupportedSlideError, "not brightfield RGB")


def test_16_bit_png_is_not_cut_down_silently(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.full((389, 613, 3), 40_000, np.uint16))
    fails(path, UnsupportedSlideError, "16 bits")


def test_the_wrong_reader_is_named(svs: Path, tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(scan).save(path)
    fails(path, UnsupportedSlideError, "--reader tiffslide", reader="tiffslide")
    fails(svs, UnsupportedSlideError, "--reader image", reader="image")
    fails(path, UnsupportedSlideError, "--reader fast", reader="fast")
    strips = tmp_path / "strips.tif"
    tifffile.imwrite(strips, scan, photometric="rgb", compression="lzw", rowsperstrip=37)
    fails(strips, UnsupportedSlideError, "--reader fast", reader="fast")
    fails(svs, UsageError, "'vips' is not a reader", reader="vips")


def test_missing_pixel_size_is_its_own_error(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(scan).save(path)
    fails(path, MissingMppError, "--mpp", mpp=None)
    fails(path, UsageError, "^--mpp: 300", mpp=300)


@pytest.mark.parametrize("name", ["one.png", "one.jpg", "one.tif"])
def test_one_pixel_is_a_slide(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("tif"):
        tifffile.imwrite(path, np.full((1, 1, 3), 7, np.uint8), photometric="rgb")
    else:
        Image.new("RGB", (1, 1), (7, 7, 7)).save(path)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.read_box(Box(0, 0, 1, 1), 1).rgb.tolist() == [[[7, 7, 7]]]
        assert slide.overview(64).rgb.shape == (1, 1, 3)


def test_transparent_pixels_are_not_scanned(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "cut out.png"
    alpha = np.full((389, 613, 1), 255, np.uint8)
    alpha[100:200, 50:350] = 0
    Image.fromarray(np.dstack([scan, alpha])).save(path)
    with open_slide(path, mpp=0.25) as slide:
        read = slide.overview(1)
    assert np.array_equal(read.valid, alpha[..., 0] == 255)
    assert np.array_equal(read.rgb[read.valid], scan[read.valid])
    assert (read.rgb[~read.valid] == 255).all()


def test_large_images_are_refused_with_the_numbers_and_without_warnings(
    tmp_path: Path, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(scan).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_slide(path, mpp=0.25).close()
    monkeypatch.setattr("wsi_pipeline.slide.image_reader.IMAGE_PX_MAX", 1000)
    fails(path, ResourceError, "613 x 389 px")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_images_that_state_more_than_they_hold_are_refused_undecoded(
    tmp_path: Path, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"scan.{suffix}"
    Image.fromarray(scan[:40, :60] if suffix == "jpg" else scan).save(path)
    data = bytearray(path.read_bytes())
    if suffix == "png":
        data[20:24] = (400_000).to_bytes(4, "big")
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (16_000).to_bytes(2, "big") * 2
    path.write_bytes(data)
    monkeypatch.setattr("wsi_pipeline.slide.image_reader._decode", pytest.fail)
    fails(path, CorruptSlideError, "more than it holds")


def test_a_large_white_png_holds_what_it_states(tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    Image.new("RGB", (4200, 4100), "white").save(path)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.info.size_l0 == (4200, 4100)
