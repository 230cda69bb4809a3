"""OME-Zarr folders as slides, written by this product and by the zarr library: identity, pixel size, holes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import BZ2, LZ4, LZMA, GZip, Zlib, Zstd

from tests.slide.zarr_stores import HEIGHT, MPP, WIDTH, write_attributes, write_map, write_store, write_xml
from wsi_pipeline.config import Settings
from wsi_pipeline.errors import MissingMppError
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.geometry import Box, Size, cut
from wsi_pipeline.slide import Slide, SlideSpec, open_slide


@pytest.fixture(scope="module")
def pyramid(scan: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of this product with all its levels; umlaut and space in its name."""
    return write_map(tmp_path_factory.mktemp("zarr") / "sl\u00efde 1.ome.zarr", scan)


@pytest.fixture
def slide(pyramid: Path) -> Iterator[Slide]:
    with open_slide(pyramid) as opened:
        yield opened


def test_our_own_store_is_a_slide(pyramid: Path, scan: np.ndarray) -> None:
    with open_slide(f"{pyramid}/") as slide:
        info, read = slide.info, slide.overview(1)
    assert (info.reader, info.vendor, info.mpp_source) == ("zarr", "ome-zarr", "metadata:OME PhysicalSize")
    assert (info.size_l0, info.full_size_l0, info.bounds_origin_l0) == ((WIDTH, HEIGHT), (WIDTH, HEIGHT), (0, 0))
    assert info.level_sizes == ((613, 389), (307, 195), (154, 98), (77, 49), (39, 25))
    assert info.level_downsamples[2] == pytest.approx((613 / 154 + 389 / 98) / 2)
    assert (info.mpp, info.warnings, info.objective_power) == (MPP, (), None)
    assert np.array_equal(read.rgb, scan)
    assert read.valid.all()
    assert read.unreadable == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_box_is_the_arrays(pyramid: Path, scan: np.ndarray, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(-40, WIDTH + 10)), data.draw(st.integers(-40, HEIGHT + 10))
    box = Box(x, y, data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300)))
    with open_slide(pyramid) as slide:
        read = slide.read_box(box, 1)
    frame = np.full((HEIGHT + 400, WIDTH + 400, 3), 255, np.uint8)
    frame[40 : 40 + HEIGHT, 40 : 40 + WIDTH] = scan
    inside = np.zeros(frame.shape[:2], bool)
    inside[40 : 40 + HEIGHT, 40 : 40 + WIDTH] = True
    window = slice(box.y + 40, box.bottom + 40), slice(box.x + 40, box.right + 40)
    assert np.array_equal(read.rgb, frame[window])
    assert np.array_equal(read.valid, inside[window])


@pytest.mark.parametrize("downsample", [2, 4, 8])
def test_a_level_with_rounded_up_size_is_read_pixel_exactly(slide: Slide, pyramid: Path, downsample: int) -> None:
    level = MapStore.open(pyramid).read_block(Box(0, 0, WIDTH, HEIGHT), level=downsample.bit_length() - 1)
    read = slide.overview(downsample)
    assert np.array_equal(read.rgb, level)
    parts = np.zeros_like(level)
    for box in cut(Size(level.shape[1], level.shape[0]), 37):
        parts[box.y : box.bottom, box.x : box.right] = slide.read_box(box.scaled(downsample), downsample).rgb
    assert np.array_equal(parts, level)


def test_between_levels_pixels_are_means(tmp_path: Path, scan: np.ndarray) -> None:
    with open_slide(write_store(tmp_path / "a.zarr", scan)) as slide:
        read = slide.read_box(Box(3 * 11, 3 * 7, 3 * 100, 3 * 90), 3)
    mean = scan[21:291, 33:333].reshape(90, 3, 100, 3, 3).mean(axis=(1, 3))
    assert np.abs(read.rgb - mean).max() <= 0.5


def test_a_level_without_whole_factor_is_placed_by_its_size(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    ramp = np.stack([x / WIDTH, y / HEIGHT, (x + y) / (WIDTH + HEIGHT)], axis=-1) * 255
    coarse = ramp[:155, :245] * 0
    u, v = np.meshgrid((np.arange(245) + 0.5) / 245, (np.arange(155) + 0.5) / 155)
    coarse[..., 0], coarse[..., 1] = u * 255, v * 255
    coarse[..., 2] = (u * WIDTH + v * HEIGHT) / (WIDTH + HEIGHT) * 255
    path = write_store(tmp_path / "a.zarr", ramp.round().astype(np.uint8), coarse.round().astype(np.uint8))
    with open_slide(path) as slide:
        assert slide.info.level_downsamples[1] == pytest.approx(2.506, abs=1e-3)
        read = slide.read_box(Box(50, 100, 450, 250), 5).rgb
    expected = ramp[100:350, 50:500].reshape(50, 5, 90, 5, 3).mean(axis=(1, 3))
    assert np.abs(read - expected).max() <= 1


STORES: dict[str, dict[str, Any]] = {
    "blosc": {},
    "plain": {"compressors": None},
    "zlib": {"compressors": Zlib()},
    "gzip": {"compressors": GZip()},
    "zstd": {"compressors": Zstd()},
    "lz4": {"compressors": LZ4()},
    "bz2": {"compressors": BZ2()},
    "lzma": {"compressors": LZMA()},
    "dots": {"separator": "."},
    "five axes": {"axes": "tczyx"},
    "three channels a chunk": {"chunks": {"c": 3}},
    "two channels a chunk": {"chunks": {"c": 2}},
    "Fortran order": {"order": "F", "chunks": {"c": 3}, "axes": "tczyx"},
    "colours last": {"axes": "yxc", "chunks": {"c": 3}},
    "one chunk": {"chunks": {"c": 4, "y": 500, "x": 700}},
    "v3": {"version": 3},
    "v3 plain": {"version": 3, "compressors": None, "axes": "tczyx"},
    "v3 blosc": {"version": 3, "compressors": zarr.codecs.BloscCodec(cname="zstd")},
    "v3 gzip, dots": {"version": 3, "compressors": zarr.codecs.GzipCodec(), "separator": "."},
}


@pytest.mark.parametrize("kind", STORES)
def test_every_way_to_store_pixels_gives_the_same(tmp_path: Path, scan: np.ndarray, kind: str) -> None:
    path = write_store(tmp_path / "a.ome.zarr", scan, **STORES[kind])
    with open_slide(path, reader="zarr") as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert np.array_equal(slide.read_box(Box(100, 60, 301, 203), 1).rgb, scan[60:263, 100:401])
        assert slide.info.mpp == pytest.approx(MPP)
        assert slide.info.mpp_source == "metadata:NGFF scale"


def test_the_first_image_of_a_converted_slide_is_the_scan(
    tmp_path: Path, scan: np.ndarray, quarter: np.ndarray
) -> None:
    path = tmp_path / "a.zarr"
    write_attributes(path, {"bioformats2raw.layout": 3})
    write_store(path / "0", scan, quarter, axes="tczyx", units=None)
    write_store(path / "1", quarter, axes="tczyx")
    write_xml(path, 'PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.26"')
    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx(MPP)
        assert np.array_equal(slide.overview(1).rgb, scan)
        assert np.array_equal(slide.read_box(Box(0, 0, 612, 388), 4).rgb, quarter)


def test_a_folder_of_both_versions_is_read_as_the_older(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    write_attributes(path, {"multiscales": []}, version=3)
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)


@pytest.mark.parametrize(
    ("pixels", "source", "mpp"),
    [
        (
            'PhysicalSizeX="0.5" PhysicalSizeXUnit="\u00b5m" PhysicalSizeY="510" PhysicalSizeYUnit="nm"',
            "OME",
            (0.5, 0.51),
        ),
        ('PhysicalSizeX="0.5"', "OME", (0.5, 0.5)),
        ('PhysicalSizeX="3" PhysicalSizeXUnit="pixel"', "NGFF", MPP),
        ('PhysicalSizeX="many"', "NGFF", MPP),
        ("", "NGFF", MPP),
    ],
)
def test_pixel_size_is_the_xmls_then_the_scales(
    tmp_path: Path, scan: np.ndarray, pixels: str, source: str, mpp: tuple[float, float]
) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    write_xml(path, pixels)
    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx(mpp)
        assert source in slide.info.mpp_source


def test_the_scale_of_all_levels_counts_too(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan, units={"x": "meter", "y": "millimeter"})
    attributes = json.loads((path / ".zattrs").read_text())
    own = attributes["multiscales"][0]
    own["coordinateTransformations"] = [{"type": "scale", "scale": [1, 2e-3, 2e-9]}]
    (path / ".zattrs").write_text(json.dumps(attributes))
    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx((0.5, 0.52))


def test_without_a_unit_the_pixel_size_is_missing(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan, units=None)
    with pytest.raises(MissingMppError):
        open_slide(path)
    with open_slide(path, assume_mpp=0.3) as slide:
        assert slide.info.mpp == (0.3, 0.3)


@pytest.mark.parametrize(
    ("version", "fill", "scanned"),
    [(2, 255, True), (2, 0, False), (2, None, False), (2, 240, False), (3, 255, True), (3, 0, False)],
)
def test_chunks_without_a_file_are_glass_only_where_the_fill_is_white(
    tmp_path: Path, scan: np.ndarray, version: int, fill: int | None, scanned: bool
) -> None:
    path = write_store(tmp_path / "a.zarr", scan, fill_value=fill, version=version, compressors=None)
    for channel in range(3):
        (path / "s0" / ("c" if version == 3 else "") / f"{channel}/2/4").unlink()
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[128:192, 212:265] = True
    with open_slide(path) as slide:
        read = slide.overview(1)
    assert (read.rgb[hole] == 255).all()
    assert np.array_equal(read.rgb[~hole], scan[~hole])
    assert np.array_equal(read.valid, ~hole | scanned)
    assert read.unreadable == 0


@pytest.mark.parametrize("fill", [255, 0])
def test_one_colour_without_a_file_is_the_fill(tmp_path: Path, scan: np.ndarray, fill: int) -> None:
    path = write_store(tmp_path / "a.zarr", scan, fill_value=fill)
    (path / "s0/1/2/4").unlink()
    expected = scan.copy()
    expected[128:192, 212:265, 1] = fill
    with open_slide(path) as slide:
        read = slide.overview(1)
    assert np.array_equal(read.rgb, expected)
    assert read.valid.all()


def test_a_spec_survives_pickling_and_opens_alike(pyramid: Path, scan: np.ndarray) -> None:
    spec = pickle.loads(pickle.dumps(SlideSpec(pyramid, "zarr", mpp=0.5)))  # noqa: S301 - our own bytes
    with spec.open() as slide:
        assert (slide.info.reader, slide.info.mpp) == ("zarr", (0.5, 0.5))
        assert np.array_equal(slide.read_box(Box(50, 40, 99, 77), 1).rgb, scan[40:117, 50:149])


def test_threads_read_the_same_beside_a_broken_chunk(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    (path / "s0/0/5/10").write_bytes(b"")
    boxes = [Box(x, y, 97, 71) for y in range(0, 240, 40) for x in range(0, 420, 30)]
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        lost = pool.submit(slide.read_box, Box(530, 320, 83, 64), 1)
        for box, read in zip(boxes, pool.map(lambda box: slide.read_box(box, 1), boxes), strict=True):
            assert np.array_equal(read.rgb, scan[box.y : box.bottom, box.x : box.right])
        assert lost.result().unreadable == 53 * 64


def test_neither_zarr_nor_its_codecs_are_loaded_for_other_slides() -> None:
    program = "import sys, wsi_pipeline.slide; print([name for name in ('zarr', 'numcodecs') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_slide_copied_to_ome_zarr_scores_the_same(samples: Path, tmp_path: Path) -> None:
    source = samples / "phantom_2plus.svs"
    copy = tmp_path / "copy.ome.zarr"
    with open_slide(source) as slide:
        pixels, info = slide.overview(1).rgb, slide.info
    spec = MapSpec(size_map=info.size_l0, channels="rgb", mpp_map=info.mpp, name="copy", kind="scan")
    store = MapStore.create(copy, spec)
    store.write_block(0, 0, pixels)
    store.build_pyramid("mean")
    serial = Settings.model_validate({"engine": {"executor": "serial"}})
    ours, out = score_slide(ScoreRequest(copy, tmp_path / "one", serial))
    theirs, _ = score_slide(ScoreRequest(source, tmp_path / "other", serial))
    assert (ours.score, ours.category, ours.borderline) == (theirs.score, theirs.category, theirs.borderline)
    assert ours.shares == pytest.approx(theirs.shares, abs=0.5)
    assert ours.cells.tumour == pytest.approx(theirs.cells.tumour, rel=0.01)
    assert (ours.slide.reader, ours.slide.vendor, ours.slide.mpp_x) == ("zarr", "ome-zarr", theirs.slide.mpp_x)
    project = json.loads((out / "project.qpproj").read_text())["images"][0]["serverBuilder"]
    assert project["uri"] == copy.resolve().as_uri()
    assert "bioformats" in project["providerClassName"]
