"""OME-Zarr folders as slides, written by this product and by the zarr library: identity, holes, damage, refusals."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Pickle, Zlib, Zstd

from wsi_pipeline.config import Settings
from wsi_pipeline.errors import CorruptSlideError, MissingMppError, UnsupportedSlideError, WsiHer2Error
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.geometry import Box, Mpp, Size, cut
from wsi_pipeline.slide import Slide, SlideSpec, open_slide

WIDTH, HEIGHT = 613, 389
CHUNK = 64
MPP = Mpp(0.25, 0.26)
UNITS = {"x": "nanometer", "y": "micrometer"}
SCALES = {"x": 250.0, "y": 0.26}

Write = Callable[..., Path]


def write_map(path: Path, pixels: np.ndarray) -> Path:
    """Write `pixels` as this product writes images."""
    size = Size(pixels.shape[1], pixels.shape[0])
    store = MapStore.create(path, MapSpec(size_map=size, channels="rgb", mpp_map=MPP, name="scan", chunk=CHUNK))
    store.write_block(0, 0, pixels)
    store.build_pyramid("mean")
    return path


def write_store(
    path: Path, *levels: np.ndarray, axes: str = "cyx", version: int = 2, chunks: dict[str, int] | None = None,
    separator: str = "/", units: dict[str, str] | None = UNITS, **options: Any,
) -> Path:  # fmt: skip
    """Write (H, W, C) `levels` with the zarr library; `options` are those of zarr.create_array."""
    side = {"c": 1, "y": CHUNK, "x": CHUNK - 11, **(chunks or {})}
    default = {"compressors": Blosc("lz4"), "filters": None} if version == 2 else {}
    settings = {"fill_value": 255, "zarr_format": version, **default, **options}
    for index, colours in enumerate(levels):
        level = colours if "c" in axes else colours[..., 0]
        planes = level.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        shape = [level.shape["yxc".index(axis)] if axis in "yxc" else 1 for axis in axes]
        encoding = {"name": "v2" if version == 2 or separator == "." else "default", "separator": separator}
        array = zarr.create_array(
            str(path / f"s{index}"), shape=shape, chunks=[side.get(axis, 1) for axis in axes], dtype=level.dtype,
            chunk_key_encoding=encoding, **settings,
        )  # fmt: skip
        array[:] = planes.reshape(shape)
    write_attributes(path, ngff(axes, len(levels), units), version)
    return path


def ngff(axes: str, levels: int, units: dict[str, str] | None) -> dict[str, Any]:
    """Return NGFF attributes of so many levels."""
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes]
    for axis in described:
        if axis["name"] in (units or {}):
            axis["unit"] = units[axis["name"]]
    scale = [SCALES.get(axis, 1.0) for axis in axes]
    datasets = [
        {"path": f"s{index}", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for index in range(levels)
    ]
    return {"multiscales": [{"version": "0.4", "axes": described, "datasets": datasets}]}


def write_attributes(path: Path, attributes: dict[str, Any], version: int = 2) -> None:
    """Write a group's metadata."""
    path.mkdir(exist_ok=True)
    if version == 3:
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5"} | attributes}}
        (path / "zarr.json").write_text(json.dumps(group))
        return
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))


def write_xml(path: Path, pixels: str, channels: str = "") -> None:
    (path / "OME").mkdir()
    image = f'<Image ID="Image:0"><Pixels ID="P" Type="uint8" {pixels}>{channels}</Pixels></Image>'
    (path / "OME" / "METADATA.ome.xml").write_text(f"<OME>{image}<Image><Pixels/></Image></OME>", encoding="utf-8")


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


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def noise(data: bytes) -> bytes:
    return np.random.default_rng(5).bytes(len(data))


@pytest.mark.parametrize(
    ("compressor", "spoil"),
    [
        *((Blosc(name), spoil) for name in ("zstd", "lz4", "blosclz", "zlib") for spoil in (half, noise)),
        (Blosc(), lambda _: b""),
        (Blosc(), lambda data: data[:-1]),
        (Blosc(), lambda data: data[:4] + b"\0\1\0\0" + data[8:]),
        (Zlib(), half),
        (Zstd(), half),
        (GZip(), noise),
        (LZ4(), half),
        (BZ2(), noise),
        (LZMA(), half),
        (None, half),
        (None, lambda data: data + b"1"),
    ],
)
def test_a_broken_chunk_costs_that_chunk_only(
    tmp_path: Path, scan: np.ndarray, compressor: Any, spoil: Callable[[bytes], bytes],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write_store(tmp_path / "a.zarr", scan, compressors=compressor)
    chunk = path / "s0/2/1/3"
    chunk.write_bytes(spoil(chunk.read_bytes()))
    lost = np.zeros((HEIGHT, WIDTH), bool)
    lost[64:128, 159:212] = True
    with open_slide(path) as slide:
        read = slide.overview(1)
        with pytest.raises(CorruptSlideError, match="broken chunk s0/2/1/3"):
            slide._reader.read_level(0, Box(0, 0, WIDTH, HEIGHT))  # type: ignore[union-attr]
    assert np.array_equal(~read.valid, lost)
    assert read.unreadable == lost.sum()
    assert np.array_equal(read.rgb[~lost], scan[~lost])
    assert (read.rgb[lost] == 255).all()
    assert capfd.readouterr() == ("", "")


def test_a_chunk_that_cannot_be_opened_is_broken(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    (path / "s0/0/0/0").unlink()
    (path / "s0/0/0/0").mkdir()
    with open_slide(path) as slide:
        assert slide.overview(1).unreadable == 64 * 53


def fails(path: Path, kind: type[WsiHer2Error], words: str, **options: Any) -> None:
    with pytest.raises(kind, match=words) as raised:
        open_slide(path, mpp=0.25, **options)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)
    assert raised.value.remedy


def test_what_is_not_8_bit_rgb_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    store = tmp_path / "store"
    store.mkdir()
    fails(write_store(store / "grey.zarr", scan[..., :1]), UnsupportedSlideError, "1 channel")
    fails(write_store(store / "four.zarr", np.dstack([scan, scan[..., :1]])), UnsupportedSlideError, "4 channel")
    fails(write_store(store / "deep.zarr", scan.astype(np.uint16)), UnsupportedSlideError, "type uint16")
    fails(write_store(store / "real.zarr", scan.astype(np.float32), version=3), UnsupportedSlideError, "type float32")
    fails(write_store(store / "flat.zarr", scan[..., 0, None], axes="yx"), UnsupportedSlideError, "axes y, x,")
    deep = write_store(store / "planes.zarr", scan, axes="tczyx")
    stored = json.loads((deep / "s0/.zarray").read_text())
    (deep / "s0/.zarray").write_text(json.dumps(stored | {"shape": [1, 3, 7, HEIGHT, WIDTH]}))
    fails(deep, UnsupportedSlideError, "7 along z")


@pytest.mark.parametrize(
    ("colours", "channels", "words"),
    [
        (["0000FF", "00FF00", "FF0000"], "", "shown in 0000FF, 00FF00, FF0000"),
        (["FF0000", "00FF00", "0000FF"], "", None),
        (["#ff0000", "00ff00", "0000ff"], "", None),
        (["FFFFFF"] * 3, "", None),
        ([], '<Channel ID="C:0" Name="a" Fluor="DAPI"/>', "stained with DAPI"),
    ],
)
def test_three_stains_are_not_taken_for_rgb(
    tmp_path: Path, scan: np.ndarray, colours: list[str], channels: str, words: str | None
) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    omero = {"omero": {"channels": [{"color": colour} for colour in colours]}}
    write_attributes(path, json.loads((path / ".zattrs").read_text()) | omero)
    write_xml(path, "", channels)
    if words:
        fails(path, UnsupportedSlideError, words)
    else:
        open_slide(path).close()


def test_ways_of_storing_that_are_not_decoded_are_named(
    tmp_path: Path, scan: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharded = write_store(tmp_path / "shards.zarr", scan, version=3, chunks={"x": 64}, shards=(3, 128, 128))
    fails(sharded, UnsupportedSlideError, "sharding_indexed")
    path = write_store(tmp_path / "a.zarr", scan)
    stored = json.loads((path / "s0/.zarray").read_text())
    (path / "s0/.zarray").write_text(json.dumps(stored | {"compressor": Pickle().get_config()}))
    fails(path, UnsupportedSlideError, "pickle")
    (path / "s0/.zarray").write_text(json.dumps(stored | {"filters": [{"id": "delta", "dtype": "u1"}]}))
    fails(path, UnsupportedSlideError, "delta")
    (path / "s0/.zarray").write_text(json.dumps(stored))
    monkeypatch.setattr("wsi_pipeline.slide.zarr_chunks.SEGMENT_PX_MAX", 64 * 53 - 1)
    fails(path, UnsupportedSlideError, "53 x 64 px")


def test_older_ngff_is_refused(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    attributes = json.loads((path / ".zattrs").read_text())
    attributes["multiscales"][0]["axes"] = ["c", "y", "x"]
    (path / ".zattrs").write_text(json.dumps(attributes))
    fails(path, UnsupportedSlideError, "older than NGFF 0.4")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (".zattrs", "{}", "no multiscales"),
        (".zattrs", None, "no multiscales"),
        (".zattrs", "{", "broken OME-Zarr metadata"),
        (".zattrs", "[1]", "broken OME-Zarr metadata"),
        (".zattrs", "\udcff", "broken OME-Zarr metadata"),
        (".zattrs", '{"multiscales": []}', "broken OME-Zarr metadata"),
        (".zattrs", '{"multiscales": [{"axes": [{"name": "x"}], "datasets": [{"path": 3}]}]}', "broken OME-Zarr"),
        (".zattrs", '{"multiscales": [{"axes": [{"name": "x"}], "datasets": []}]}', "broken OME-Zarr|without levels"),
        ("s1/.zarray", None, "lacks the level s1"),
        ("s0/.zarray", "{", "no readable array s0"),
        ("s0/.zarray", "{}", "no readable array s0"),
        ("s0/.zarray", {"shape": [3, 389]}, "no readable array s0"),
        ("s0/.zarray", {"shape": [3, 389, 0]}, "without pixels"),
        ("s0/.zarray", {"shape": "389"}, "no readable array s0"),
        ("s0/.zarray", {"dtype": "what"}, "no readable array s0"),
        ("s0/.zarray", {"order": "Z"}, "no readable array s0"),
        ("s0/.zarray", {"compressor": {"id": "blosc", "speed": 3}}, "no readable array s0"),
    ],
)
def test_broken_metadata_is_corrupt(
    tmp_path: Path, scan: np.ndarray, quarter: np.ndarray, file: str, content: str | dict[str, Any] | None, words: str
) -> None:
    path = write_store(tmp_path / "a.zarr", scan, quarter)
    if content is None:
        (path / file).unlink()
    elif isinstance(content, dict):
        (path / file).write_text(json.dumps(json.loads((path / file).read_text()) | content))
    else:
        (path / file).write_text(content, encoding="utf-8", errors="surrogateescape")
    fails(path, CorruptSlideError, words)


def test_broken_metadata_of_version_3_is_corrupt(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan, version=3)
    whole = (path / "s0/zarr.json").read_text()
    (path / "s0/zarr.json").write_text(whole[:-20])
    fails(path, CorruptSlideError, "no readable array s0")
    fails(path / "s0", CorruptSlideError, "broken OME-Zarr metadata")
    (path / "s0/zarr.json").write_text(whole)
    fails(path / "s0", CorruptSlideError, "no multiscales")


def test_readers_and_folders_that_do_not_fit(pyramid: Path, tmp_path: Path, svs: Path) -> None:
    fails(pyramid, UnsupportedSlideError, "--reader openslide", reader="openslide")
    fails(svs, UnsupportedSlideError, "--reader zarr", reader="zarr")
    for reader in ("auto", "zarr"):
        fails(tmp_path, UnsupportedSlideError, "is a folder, not a slide", reader=reader)


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
    store = MapStore.create(copy, MapSpec(size_map=info.size_l0, channels="rgb", mpp_map=info.mpp, name="copy"))
    store.write_block(0, 0, pixels)
    store.build_pyramid("mean")
    serial = Settings.model_validate({"engine": {"executor": "serial"}})
    ours, out = score_slide(ScoreRequest(copy, tmp_path / "one", serial))
    theirs, _ = score_slide(ScoreRequest(source, tmp_path / "other", serial))
    assert (ours.score, ours.category, ours.borderline) == (theirs.score, theirs.category, theirs.borderline)
    assert ours.shares == pytest.approx(theirs.shares, abs=0.5)
    assert ours.cells.tumour == pytest.approx(theirs.cells.tumour, rel=0.01)
    assert (ours.slide.reader, ours.slide.vendor, ours.slide.mpp_x) == ("zarr", "ome-zarr", theirs.slide.mpp_x)
    project = json.loads((out / "qupath/project.qpproj").read_text())["images"][0]["serverBuilder"]
    assert project["uri"] == copy.resolve().as_uri()
    assert "bioformats" in project["providerClassName"]
