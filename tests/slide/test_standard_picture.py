"""The picture is the one that the TIFF tags define, whatever OpenSlide makes of them, and by every reader alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.slide.against_openslide import drawn, furthest, padded_tiles, tag_as_rgb
from wsi_pipeline.errors import UnsupportedSlideError
from wsi_pipeline.slide import SlideSpec, open_slide
from wsi_pipeline.slide.fast_reader import FastTiffReader

READERS = ("auto", "fast", "tiffslide")
NOT_OPENSLIDES = "viewers built on OpenSlide do not show this slide rightly"


@pytest.fixture
def alpha(scan: np.ndarray) -> np.ndarray:
    """Return (389, 613) uint8: nothing at the left, half and whole further on."""
    values = np.zeros(scan.shape[:2], np.uint8)
    values[:, 150:], values[:, 300:], values[200:, 500:] = 100, 255, 180
    return values


def shown(path: Path, reader: str) -> tuple[np.ndarray, np.ndarray]:
    """Return level 0 as a reader shows it, (389, 613, 3) px and the mask of what was scanned."""
    with open_slide(path, reader=reader, require_mpp=False) as slide:
        read = slide.overview(1)
    assert read.unreadable == 0
    return read.rgb, read.valid


def write(path: Path, pixels: np.ndarray, *, planar: bool = False, **options: Any) -> Path:
    """Write (389, 613, samples) px as a TIFF."""
    settings = {"photometric": "rgb", "tile": (112, 64), "compression": "lzw", "metadata": None, **options}
    stored = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if planar else pixels
    tifffile.imwrite(path, stored, planarconfig="separate" if planar else "contig", **settings)
    return path


def undeclare(path: Path) -> None:
    """Replace the ExtraSamples tag by a private one."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.filehandle.seek(tiff.pages[0].tags["ExtraSamples"].offset)
        tiff.filehandle.write((65000).to_bytes(2, "little"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, {"compression": "jpeg"}, {"tile": None, "rowsperstrip": 37}])
def test_every_orientation_is_shown_as_stored(
    tmp_path: Path, scan: np.ndarray, orientation: int, options: dict[str, Any]
) -> None:
    path = write(tmp_path / "turned.tif", scan, extratags=[(274, 3, 1, orientation, True)], **options)
    stored = tifffile.imread(path)
    with open_slide(path, require_mpp=False) as slide:
        info = slide.info
        assert np.array_equal(slide.overview(1).rgb, stored)
    assert np.array_equal(shown(path, "tiffslide")[0], stored)
    told = [f"its Orientation tag ({orientation}) is not applied" in warning for warning in info.warnings]
    assert told.count(True) == (orientation > 1)
    assert info.openslide == (orientation == 1 and info.reader == "fast")
    if info.reader == "fast":  # OpenSlide mirrors tiles in some orientations and with some codecs
        is_mirrored = not np.array_equal(drawn(path, 0), stored)
        assert any(NOT_OPENSLIDES in warning for warning in info.warnings) == is_mirrored


def test_openslide_is_refused_by_name_where_it_mirrors_tiles(tmp_path: Path, scan: np.ndarray) -> None:
    path = write(tmp_path / "mirrored.tif", scan, extratags=[(274, 3, 1, 2, True)])
    assert furthest(drawn(path, 0), scan) > 100
    with pytest.raises(UnsupportedSlideError, match="is not shown by OpenSlide as its TIFF tags define it"):
        open_slide(path, reader="openslide", require_mpp=False)


def test_another_process_keeps_openslide_out(tmp_path: Path, scan: np.ndarray) -> None:
    path = tmp_path / "mirrored.svs"
    write(path, scan, extratags=[(274, 3, 1, 2, True)], description="Aperio Image Library v12|AppMag = 20|MPP = 0.499")
    with open_slide(path) as slide:
        spec = SlideSpec(path, slide.info.reader, openslide=slide.info.openslide)
        assert not slide.info.openslide
    with spec.open() as slide:
        assert isinstance(slide.reader, FastTiffReader)
        assert not slide.reader.facts.openslide


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("name", ["rgba.tif", "rgba.ome.tif"])
@pytest.mark.parametrize("meaning", ["unspecified", None])
@pytest.mark.parametrize("value", [0, 77, 255])
def test_a_sample_that_is_not_declared_alpha_is_none(
    tmp_path: Path, scan: np.ndarray, planar: bool, name: str, meaning: str | None, value: int
) -> None:
    pixels = np.dstack([scan, np.full(scan.shape[:2], value, np.uint8)])
    extra = {"extrasamples": [meaning or "unspecified"], "metadata": {"axes": "SYX" if planar else "YXS"}}
    path = write(tmp_path / name, pixels, planar=planar, **extra)
    if meaning is None:
        undeclare(path)
    for reader in READERS:
        rgb, valid = shown(path, reader)
        assert np.array_equal(rgb, scan)
        assert valid.all()
    with open_slide(path, require_mpp=False) as slide:
        alike = value == 255 and not name.endswith(".ome.tif")
        assert slide.info.openslide == alike
        assert any(NOT_OPENSLIDES in warning for warning in slide.info.warnings) == (value < 255)


@pytest.mark.parametrize("declared", [False, True])
def test_jpeg_may_have_a_fourth_sample(tmp_path: Path, scan: np.ndarray, declared: bool) -> None:
    pixels = np.dstack([scan, np.zeros(scan.shape[:2], np.uint8)])
    tiles = (imagecodecs.jpeg8_encode(tile, level=98) for tile in padded_tiles(pixels, 128))
    path = tmp_path / "four.tif"
    options = {"compression": "jpeg", "photometric": "rgb", "extrasamples": ["unspecified"], "metadata": None}
    tifffile.imwrite(path, tiles, shape=pixels.shape, dtype=np.uint8, tile=(128, 128), **options)
    tag_as_rgb(path)
    if not declared:
        undeclare(path)
    for reader in READERS:
        rgb, valid = shown(path, reader)
        assert np.abs(rgb.astype(int) - scan).mean() < 2
        assert valid.all()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("name", ["rgba.tif", "rgba.ome.tif"])
@pytest.mark.parametrize("compression", [None, "lzw", "png"])
def test_declared_alpha_is_composited_on_white(
    tmp_path: Path, scan: np.ndarray, alpha: np.ndarray, planar: bool, name: str, compression: str | None
) -> None:
    weight = alpha[..., None] / 255
    premultiplied = np.rint(scan * weight).astype(np.uint8)
    wanted = np.where(alpha[..., None] >= 128, np.rint(scan * weight + 255 * (1 - weight)), 255).astype(int)
    metadata = {"axes": "SYX" if planar else "YXS"}
    for meaning, colours in (("unassalpha", scan), ("assocalpha", premultiplied)):
        options = {"extrasamples": [meaning], "compression": compression, "metadata": metadata}
        path = write(tmp_path / name, np.dstack([colours, alpha]), planar=planar, **options)
        readers = READERS if compression == "png" or name.endswith(".ome.tif") else (*READERS, "openslide")
        for reader in readers:
            rgb, valid = shown(path, reader)
            assert np.array_equal(valid, alpha >= 128)
            assert furthest(rgb, wanted) <= 1


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [(112, 64), None])
def test_alpha_may_stand_behind_another_sample(
    tmp_path: Path, scan: np.ndarray, alpha: np.ndarray, planar: bool, tile: tuple[int, int] | None
) -> None:
    pixels = np.dstack([scan, np.full_like(alpha, 9), alpha])
    opaque = alpha == 255
    for compression in ("lzw", None):
        options = {"extrasamples": ["unspecified", "unassalpha"], "compression": compression, "tile": tile}
        path = write(tmp_path / "five.tif", pixels, planar=planar, **options)
        for reader in ("auto", "tiffslide"):
            rgb, valid = shown(path, reader)
            assert np.array_equal(valid, alpha >= 128)
            assert np.array_equal(rgb[opaque], scan[opaque])


def test_a_colour_of_a_tile_that_was_never_written_is_a_hole(tmp_path: Path, scan: np.ndarray) -> None:
    path = write(tmp_path / "planar.tif", scan, planar=True)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tables = [page.tags[name].valueoffset for name in ("TileOffsets", "TileByteCounts")]
        third = 2 * 10 * 4 + 13  # planes of 10 x 4 tiles, the tile at 192, 112
    with path.open("r+b") as file:
        for table in tables:
            file.seek(table + 4 * third)
            file.write(bytes(4))
    rgb, valid = shown(path, "tiffslide")
    hole = np.zeros(valid.shape, bool)
    hole[112:224, 192:256] = True
    assert np.array_equal(~valid, hole)
    assert np.array_equal(rgb[~hole], scan[~hole])


def test_a_damaged_colour_is_damage_of_its_tile(tmp_path: Path, scan: np.ndarray) -> None:
    path = write(tmp_path / "planar.tif", scan, planar=True, compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offset, count = page.dataoffsets[40 + 13], page.databytecounts[40 + 13]
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write(bytes(count - count // 2))
    with open_slide(path, reader="tiffslide", require_mpp=False) as slide:
        read = slide.overview(1)
    assert read.unreadable == 112 * 64
    assert not read.valid[112:224, 192:256].any()


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        ((389, 613), {"photometric": "miniswhite"}, "a grey image whose 0 is white"),
        ((389, 613), {"photometric": "minisblack"}, "a grey image"),
        ((389, 613), {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}, "an image with a palette"),
        ((389, 613, 4), {"photometric": "separated"}, "an image in printing inks"),
        ((389, 613, 3), {"photometric": "cielab"}, "an image in CIELAB colours"),
        ((389, 613, 9), {"photometric": "rgb"}, "RGB with 9"),
    ],
)
def test_other_colours_are_called_what_they_are(
    tmp_path: Path, pixels: tuple[int, ...], options: dict[str, Any], words: str
) -> None:
    path = tmp_path / "other.tif"
    tifffile.imwrite(path, np.zeros(pixels, np.uint8), tile=(112, 64), metadata=None, **options)
    with pytest.raises(UnsupportedSlideError, match=f"is not brightfield RGB.*{words}"):
        open_slide(path, require_mpp=False)
