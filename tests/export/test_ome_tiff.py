"""OME-TIFF as QuPath needs it: levels in SubIFDs, micrometres with the micro sign, right pixels in every reader."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from wsi_pipeline.errors import OutputError, ResourceError, UsageError
from wsi_pipeline.export import ome_tiff
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.ome_tiff import write_ome_tiff
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.geometry import Box, Mpp, Size, cut
from wsi_pipeline.slide.opening import open_slide

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
SIZE = Size(613, 389)
SIZES = [Size(613, 389), Size(307, 195), Size(154, 98)]
MPP = Mpp(1.0, 1.04)
PROGRAM = Path(__file__).with_name("OmeTiff.java")
MARK = Box(560, 330, 24, 24)
MARK_RGB = (140, 80, 40)
JPEG_TOLERANCE = 8
"""Grey levels; colours that were swapped or converted twice are off by tens."""

Store = Callable[..., MapStore]


@pytest.fixture
def build(tmp_path: Path) -> Store:
    """Return a function that makes a store of a coloured slope with a brown mark, all levels built."""

    def make(channels: Literal["rgb", "gray"] = "rgb", size: Size = SIZE, **changes: Any) -> MapStore:
        options: dict[str, Any] = {"mpp_map": MPP, "name": 'Virtual IHC "2+" <é & µ>'} | changes
        store = MapStore.create(tmp_path / "m.zarr", MapSpec(size_map=size, channels=channels, **options))
        rows, columns = np.indices((size.height, size.width))
        image = np.stack([250 - columns // 4 % 200, 60 + rows // 3 % 150, 90 + (rows + columns) // 9 % 150], -1)
        image[MARK.y : MARK.bottom, MARK.x : MARK.right] = MARK_RGB
        pixels = image if channels == "rgb" else image[..., 0]
        for box in cut(size, 2 * store.chunk):
            block = pixels[box.y : box.bottom, box.x : box.right].astype(store.levels[0].dtype)
            store.write_block(box.x, box.y, block)
        store.build_pyramid()
        return store

    return make


@pytest.mark.parametrize("chunk", [256, 64])
def test_every_level_has_the_pixels_of_the_store(build: Store, tmp_path: Path, chunk: int) -> None:
    store, path = build(chunk=chunk), tmp_path / "o.ome.tif"
    write_ome_tiff(store, path)
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.series) == 1
        levels = tiff.series[0].levels
        assert len(levels) == len(store.levels)
        for number, level in enumerate(levels):
            expected = store.read_block(Box(0, 0, *store.size(number)), number).astype(int)
            found = level.asarray().astype(int)
            assert found.shape == expected.shape
            assert np.abs(found - expected).mean() < 1.5
            above = np.abs(found - expected)[: (MARK.y >> number) - 8]  # the mark's edge rings in its 8 px blocks
            assert above.max() <= JPEG_TOLERANCE


def test_lower_levels_are_subifds_of_the_only_page(build: Store, tmp_path: Path) -> None:
    path = tmp_path / "o.ome.tiff"
    write_ome_tiff(build(), path)
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_bigtiff
        assert len(tiff.pages) == 1
        page = tiff.pages.first
        assert len(page.subifds) == len(SIZES) - 1
        pages = [page, *page.pages]
        for size, level in zip(SIZES, pages, strict=True):
            assert (level.imagewidth, level.imagelength) == size
            assert (level.tilewidth, level.tilelength) == (256, 256)
            assert level.compression == tifffile.COMPRESSION.JPEG
            assert level.photometric == tifffile.PHOTOMETRIC.RGB
            assert min(level.databytecounts) > 0, "a missing tile would be shown black"
        assert [bool(level.is_reduced) for level in pages] == [False, True, True]
        x, y = (page.tags[f"{axis}Resolution"].value for axis in "XY")
        assert x[0] / x[1] == pytest.approx(10_000 / MPP.x)
        assert y[0] / y[1] == pytest.approx(10_000 / MPP.y)


def test_ome_xml_keeps_the_pyramid_in_qupath(build: Store, tmp_path: Path) -> None:
    path = tmp_path / "o.ome.tif"
    write_ome_tiff(build(), path)
    with tifffile.TiffFile(path) as tiff:
        raw = tiff.ome_metadata
    assert raw is not None
    assert "\u03bc" not in raw
    image = ElementTree.fromstring(raw).find(f"{OME}Image")  # noqa: S314 - our own XML
    assert image is not None
    assert image.attrib["Name"] == 'Virtual IHC "2+" <é & µ>'
    pixels = image.find(f"{OME}Pixels")
    assert pixels is not None
    assert pixels.attrib["PhysicalSizeXUnit"] == pixels.attrib["PhysicalSizeYUnit"] == "\u00b5m"
    assert (float(pixels.attrib["PhysicalSizeX"]), float(pixels.attrib["PhysicalSizeY"])) == MPP
    assert [pixels.attrib[f"Size{axis}"] for axis in "XYCZT"] == ["613", "389", "3", "1", "1"]
    assert [channel.attrib["SamplesPerPixel"] for channel in pixels.findall(f"{OME}Channel")] == ["3"]


def test_this_product_opens_it_as_a_slide(build: Store, tmp_path: Path) -> None:
    path = tmp_path / "o.ome.tif"
    write_ome_tiff(build(), path)
    slide = open_slide(path)
    assert slide.info.mpp == MPP
    assert slide.info.mpp_source == "metadata:OME PhysicalSize"
    assert list(slide.info.level_sizes) == SIZES
    rgb = slide.read_box(MARK, 1).rgb
    assert np.abs(rgb[8:16, 8:16].astype(int) - MARK_RGB).max() <= JPEG_TOLERANCE


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_grey_is_exact(build: Store, tmp_path: Path, dtype: str) -> None:
    store, path = build("gray", dtype=dtype), tmp_path / "o.ome.tif"
    write_ome_tiff(store, path)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        for number, level in enumerate(tiff.series[0].levels):
            found = level.asarray()
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, store.read_block(Box(0, 0, *store.size(number)), number))


def test_a_small_map_is_one_page(build: Store, tmp_path: Path) -> None:
    store, path = build(size=Size(201, 7)), tmp_path / "o.ome.tif"
    write_ome_tiff(store, path)
    with tifffile.TiffFile(path) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [(7, 201, 3)]


def test_large_files_are_bigtiff_and_the_same_map_gives_the_same_bytes(
    build: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build(chunk=512)
    write_ome_tiff(store, tmp_path / "a.ome.tif")
    write_ome_tiff(store, tmp_path / "b.ome.tif")
    assert (tmp_path / "a.ome.tif").read_bytes() == (tmp_path / "b.ome.tif").read_bytes()
    monkeypatch.setattr(ome_tiff, "CLASSIC_BYTES", 300_000)
    write_ome_tiff(store, tmp_path / "b.ome.tif")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as classic, tifffile.TiffFile(tmp_path / "b.ome.tif") as big:
        assert (classic.is_bigtiff, big.is_bigtiff) == (False, True)
        assert big.pages.first.tilewidth == 512
        for one, other in zip(classic.series[0].levels, big.series[0].levels, strict=True):
            np.testing.assert_array_equal(one.asarray(), other.asarray())


def test_never_more_than_a_run_of_tiles_is_read(build: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(size=Size(9001, 301))
    monkeypatch.setattr(ome_tiff, "RUN_PX", 1024)
    read, boxes = MapStore.read_block, []

    def watched(self: MapStore, box: Box, level: int = 0) -> Any:
        boxes.append(box)
        return read(self, box, level)

    monkeypatch.setattr(MapStore, "read_block", watched)
    write_ome_tiff(store, tmp_path / "o.ome.tif")
    monkeypatch.undo()
    assert max(box.width for box in boxes) == 1024
    assert max(box.height for box in boxes) == 256
    with tifffile.TiffFile(tmp_path / "o.ome.tif") as tiff:
        found, expected = tiff.asarray().astype(int), store.read_block(Box(0, 0, 9001, 301)).astype(int)
    assert np.abs(found - expected).mean() < 1.5


def test_quality_is_obeyed_and_checked(build: Store, tmp_path: Path) -> None:
    store = build()
    sizes = []
    for quality in (40, 95):
        write_ome_tiff(store, tmp_path / "o.ome.tif", quality=quality)
        sizes.append((tmp_path / "o.ome.tif").stat().st_size)
    assert sizes[0] < 0.8 * sizes[1]
    for wrong in (0, 101):
        with pytest.raises(UsageError, match=f"quality: {wrong} is not between 1 and 100"):
            write_ome_tiff(store, tmp_path / "o.ome.tif", quality=wrong)


def test_other_names_and_stores_without_metadata_are_refused(build: Store, tmp_path: Path) -> None:
    store = build()
    with pytest.raises(OutputError, match=r"must end in \.ome\.tif or \.ome\.tiff"):
        write_ome_tiff(store, tmp_path / "o.tif")
    for content in (None, "<OME", "<OME/>"):
        xml = store.path / "OME" / "METADATA.ome.xml"
        xml.unlink(missing_ok=True)
        if content is not None:
            xml.write_text(content)
        with pytest.raises(OutputError, match=r"METADATA\.ome\.xml: (cannot be read|describes no image)"):
            write_ome_tiff(store, tmp_path / "o.ome.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["m.zarr"]


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.ENOSPC, ResourceError, "the disk is full"),
        (errno.EACCES, OutputError, "cannot be written: Permission denied"),
    ],
)
def test_what_the_disk_refuses_leaves_the_old_file(
    build: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], words: str
) -> None:
    store, path = build(), tmp_path / "o.ome.tif"
    path.write_bytes(b"old")
    blocks = 0
    read = MapStore.read_block

    def refuse(self: MapStore, box: Box, level: int = 0) -> Any:
        nonlocal blocks
        blocks += 1
        if blocks > 2:
            raise OSError(code, os.strerror(code))
        return read(self, box, level)

    monkeypatch.setattr(MapStore, "read_block", refuse)
    with pytest.raises(error, match=words):
        write_ome_tiff(store, path)
    assert blocks > 2
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.zarr", "o.ome.tif"]


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_bioformats_sees_one_series_with_all_levels_in_their_colours(
    build: Store, tmp_path: Path, jar: Path, channels: Literal["rgb", "gray"]
) -> None:
    path = tmp_path / "o.ome.tif"
    write_ome_tiff(build(channels), path)
    words = ["java", "-cp", str(jar), str(PROGRAM), str(path), str(MARK.x + 12), str(MARK.y + 12)]
    result = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
    lines = result.stdout.splitlines()
    assert "reader OMETiffReader" in lines
    assert "valid true" in lines
    assert "series 1" in lines
    assert 'name Virtual IHC "2+" <é & µ>' in lines
    assert ["x 1.0" in lines, "y 1.04" in lines] == [True, True]
    assert f"rgb {str(channels == 'rgb').lower()}" in lines
    levels = [[int(word) for word in line.split()[1:]] for line in lines if line.startswith("level ")]
    assert [Size(*level[:2]) for level in levels] == SIZES
    expected = MARK_RGB if channels == "rgb" else MARK_RGB[:1]
    for level in levels:
        assert np.abs(np.array(level[2:]) - expected).max() <= JPEG_TOLERANCE
