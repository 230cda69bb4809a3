"""Every rule by which QuPath and Bio-Formats open an OME-Zarr, and where a pixel ends up on each level."""

import errno
import json
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import ome_zarr_models.v04
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from wsi_pipeline.errors import OutputError, ResourceError
from wsi_pipeline.export.ngff import MapSpec, level_sizes
from wsi_pipeline.export.zarr_map import MapStore, halve_by_mean, halve_by_mode
from wsi_pipeline.geometry import Box, Mpp, Size, ceil_div, cut

OME = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
WIDTH, HEIGHT = 613, 389
MPP = Mpp(1.0, 1.04)


def spec(channels: Literal["rgb", "gray"] = "rgb", **changes: Any) -> MapSpec:
    options: dict[str, Any] = {"size_map": Size(WIDTH, HEIGHT), "mpp_map": MPP, "name": 'Classes "2+" <µ>'} | changes
    return MapSpec(channels=channels, **options)


def fill_store(store: MapStore, image: np.ndarray[Any, Any]) -> None:
    height, width = image.shape[:2]
    for box in cut(Size(width, height), 2 * store.chunk):
        store.write_block(box.x, box.y, image[box.y : box.bottom, box.x : box.right])


@pytest.fixture
def noise() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_what_is_written_is_read_back_on_disk_as_qupath_wants_it(tmp_path: Path, noise: np.ndarray[Any, Any]) -> None:
    store = MapStore.create(tmp_path / "classes.zarr", spec())
    fill_store(store, noise)
    store.build_pyramid()
    array = json.loads((store.path / "0" / ".zarray").read_text())
    assert array["zarr_format"] == 2
    assert array["shape"] == [3, HEIGHT, WIDTH]
    assert array["chunks"] == [1, 256, 256]
    assert array["dimension_separator"] == "/"
    assert array["order"] == "C"
    assert array["filters"] is None
    assert array["dtype"] == "|u1"
    assert array["fill_value"] == 255
    assert (array["compressor"]["id"], array["compressor"]["cname"]) == ("blosc", "zstd")
    assert (store.path / "0" / "2" / "1" / "2").is_file()
    assert (store.path / ".zgroup").is_file()
    assert (store.path / "OME" / ".zgroup").is_file()
    assert not list(store.path.rglob("zarr.json"))
    np.testing.assert_array_equal(MapStore.open(store.path).read_block(Box(0, 0, WIDTH, HEIGHT)), noise)


def test_all_levels_are_declared_in_order_of_size(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec("gray"))
    datasets = json.loads((store.path / ".zattrs").read_text())["multiscales"][0]["datasets"]
    sizes = [store.size(level) for level in range(len(store.levels))]
    assert [entry["path"] for entry in datasets] == ["0", "1", "2"]
    assert sizes == [Size(613, 389), Size(307, 195), Size(154, 98)]
    assert all((store.path / entry["path"] / ".zarray").is_file() for entry in datasets)


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_ngff_is_valid_and_places_pixels(tmp_path: Path, channels: Literal["rgb", "gray"]) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec(channels))
    image = ome_zarr_models.v04.Image.from_zarr(zarr.open_group(store.path, mode="r", zarr_format=2))
    multiscale = image.attributes.multiscales[0]
    assert [axis.name for axis in multiscale.axes] == ["c", "y", "x"]
    assert [axis.unit for axis in multiscale.axes] == [None, "micrometer", "micrometer"]
    scale, translation = multiscale.datasets[2].coordinateTransformations
    assert scale.scale == [1.0, 4.16, 4.0]
    assert translation.translation == [0.0, 1.5 * MPP.y, 1.5 * MPP.x]
    omero = json.loads((store.path / ".zattrs").read_text())["omero"]
    labels = ["Red", "Green", "Blue"] if channels == "rgb" else ["Gray"]
    assert [channel["label"] for channel in omero["channels"]] == labels
    assert all(len(channel["color"]) == 6 for channel in omero["channels"])


def test_an_island_lies_over_the_slide_at_every_level(tmp_path: Path) -> None:
    """The middle of the same pixels in um, as NGFF places them; the slide's first px centre lies at 0."""
    below, step, (rows, columns) = Mpp(0.25, 0.26), 8, (389, 613)
    island = np.zeros((rows * step, columns * step), np.float32)
    island[1203:1618, 2905:3612] = np.linspace(20, 250, 707)
    blocks = island.reshape(rows, step, columns, step).mean(axis=(1, 3))
    described = spec("gray", dtype="float32", mpp_map=below.scaled(step), mpp_slide=below)
    store = MapStore.create(tmp_path / "m.zarr", described)
    for box in cut(store.size(), store.chunk):
        store.write_block(box.x, box.y, blocks[box.y : box.bottom, box.x : box.right])
    store.build_pyramid("mean")
    truth = middle(island) * below[::-1]
    datasets = json.loads((store.path / ".zattrs").read_text())["multiscales"][0]["datasets"]
    assert len(datasets) == 3
    for level, entry in enumerate(datasets):
        scale, translation = (list(change.values())[1][1:] for change in entry["coordinateTransformations"])
        found = middle(store.read_block(Box(0, 0, *store.size(level)), level)) * scale + translation
        np.testing.assert_allclose(found, truth, atol=0.01 * described.mpp_map.x)


def middle(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the weighted mean index (row, column) of `image` (H, W)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(image * rows).sum(dtype=float), (image * columns).sum(dtype=float)]) / image.sum(dtype=float)


def test_ome_xml_gives_rgb_and_micrometres(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())
    raw = (store.path / "OME" / "METADATA.ome.xml").read_bytes()
    pixels = ElementTree.fromstring(raw).find(f"{OME}Image/{OME}Pixels")  # noqa: S314 - our own XML
    assert pixels is not None
    assert "\u00b5m".encode() in raw
    assert "\u03bc".encode() not in raw
    assert pixels.attrib["PhysicalSizeXUnit"] == pixels.attrib["PhysicalSizeYUnit"] == "\u00b5m"
    assert (float(pixels.attrib["PhysicalSizeX"]), float(pixels.attrib["PhysicalSizeY"])) == MPP
    assert (pixels.attrib["SizeX"], pixels.attrib["SizeY"], pixels.attrib["SizeC"]) == ("613", "389", "3")
    channels = [(c.attrib["Name"], int(c.attrib["Color"])) for c in pixels.findall(f"{OME}Channel")]
    assert channels == [("Red", -16776961), ("Green", 16711935), ("Blue", 65535)]


@pytest.mark.parametrize(("dtype", "expected"), [("uint8", "uint8"), ("uint16", "uint16"), ("float32", "float")])
def test_gray_types(tmp_path: Path, dtype: str, expected: str) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec("gray", dtype=dtype, name="a\x00b & c"))
    root = ElementTree.fromstring((store.path / "OME" / "METADATA.ome.xml").read_text(encoding="utf-8"))  # noqa: S314
    pixels = root.find(f"{OME}Image/{OME}Pixels")
    image = root.find(f"{OME}Image")
    assert pixels is not None
    assert image is not None
    assert pixels.attrib["Type"] == expected
    assert image.attrib["Name"] == "a\ufffdb & c"
    assert json.loads((store.path / "0" / ".zarray").read_text())["fill_value"] == 0
    gradient = np.arange(WIDTH * HEIGHT, dtype=np.float64).reshape(HEIGHT, WIDTH).astype(dtype)
    fill_store(store, gradient)
    store.build_pyramid()
    np.testing.assert_array_equal(store.read_block(Box(0, 0, WIDTH, HEIGHT)), gradient)
    assert store.read_block(Box(0, 0, 9, 5), 1).shape == (5, 9)
    assert store.read_block(Box(0, 0, 9, 5), 1).dtype == dtype


def test_fill_blocks_make_no_files_and_read_as_background(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())
    store.write_block(0, 0, np.full((256, 256, 3), 255, np.uint8))
    assert not list(store.path.glob("0/*/*/*"))
    block = np.full((133, 101, 3), 255, np.uint8)
    block[1, 2, 0] = 9
    store.write_block(512, 256, block)
    store.build_pyramid()
    assert [str(path.relative_to(store.path)) for path in store.path.glob("[0-9]/*/*/*")].count("0/0/1/2") == 1
    assert len(list(store.path.glob("0/*/*/*"))) == 1
    assert (store.read_block(Box(0, 0, 300, 256)) == 255).all()


@pytest.mark.parametrize("reduction", ["mean", "mode"])
def test_a_mark_is_found_at_its_place_on_every_level(tmp_path: Path, reduction: Literal["mean", "mode"]) -> None:
    width, height = 2309, 1217
    store = MapStore.create(tmp_path / "m.zarr", spec(size_map=Size(width, height)))
    image = np.full((height, width, 3), 255, np.uint8)
    x, y = 2091, 307
    image[y - 16 : y + 17, x - 16 : x + 17] = (10, 20, 30)
    fill_store(store, image)
    store.build_pyramid(reduction)
    assert len(store.levels) == 5
    for level in range(5):
        size = store.size(level)
        pixels = store.read_block(Box(0, 0, *size), level)
        rows, columns = np.nonzero(pixels[..., 0] < 100)
        assert (rows.mean() + 0.5) * 2**level == pytest.approx(y + 0.5, abs=0.8 * 2**level)
        assert (columns.mean() + 0.5) * 2**level == pytest.approx(x + 0.5, abs=0.8 * 2**level)
        assert tuple(pixels[y >> level, x >> level]) == (10, 20, 30)


def test_pyramid_by_blocks_equals_halving_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_pipeline.export.zarr_map.PYRAMID_BLOCK_CHUNKS", 1)
    image = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    store = MapStore.create(tmp_path / "m.zarr", spec("gray", chunk=64))
    fill_store(store, image)
    store.build_pyramid()
    for level in range(1, len(store.levels)):
        image = halve_by_mean(image)
        np.testing.assert_array_equal(store.read_block(Box(0, 0, *store.size(level)), level), image)


def test_small_map_has_one_level(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec(size_map=Size(201, 7)))
    store.write_block(0, 0, np.zeros((7, 201, 3), np.uint8))
    store.build_pyramid()
    assert len(store.levels) == 1
    assert ome_zarr_models.v04.Image.from_zarr(zarr.open_group(store.path, mode="r", zarr_format=2))


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([64, 256]))
def test_level_sizes(width: int, height: int, chunk: int) -> None:
    sizes = level_sizes(Size(width, height), chunk)
    for level, size in enumerate(sizes):
        assert size == Size(ceil_div(width, 2**level), ceil_div(height, 2**level))
    assert max(sizes[-1]) <= chunk
    assert all(max(size) > chunk for size in sizes[:-1])


@settings(max_examples=30)
@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([0, 255]), st.integers(0, 99))
def test_halving_against_the_plain_definition(width: int, height: int, fill: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).choice(np.array([0, 3, 90, 255], np.uint8), (height, width))
    mean, mode = halve_by_mean(pixels), halve_by_mode(pixels, fill)
    mode_rgb = halve_by_mode(np.stack([pixels, pixels // 2, pixels // 3], -1), fill)
    for row in range(ceil_div(height, 2)):
        for column in range(ceil_div(width, 2)):
            four = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist()
            assert mean[row, column] == int(sum(four) / len(four) + 0.5)
            most = max(four.count(value) for value in four)
            winners = [value for value in four if four.count(value) == most]
            expected = next((value for value in winners if value != fill), winners[0])
            assert mode[row, column] == expected
            if fill == 0:
                assert mode_rgb[row, column].tolist() == [expected, expected // 2, expected // 3]


def write_half(path: Path, left: bool) -> None:
    """Write every other column of blocks; runs in another process."""
    store = MapStore.open(path)
    for box in cut(Size(1100, 700), 256):
        if (box.x // 256 % 2 == 0) == left:
            rows, columns = np.indices((box.height, box.width))
            store.write_block(box.x, box.y, ((rows + box.y) * 7 + (columns + box.x) * 3).astype(np.uint8))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec("gray", size_map=Size(1100, 700)))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_half, args=(store.path, left)) for left in (True, False)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    rows, columns = np.indices((700, 1100))
    np.testing.assert_array_equal(store.read_block(Box(0, 0, 1100, 700)), (rows * 7 + columns * 3).astype(np.uint8))
    assert not [path for path in store.path.rglob("*") if path.name.endswith(".partial")]


def test_store_travels_as_a_path(tmp_path: Path) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())
    assert store.levels
    assert len(pickle.dumps(store)) < 300
    assert pickle.loads(pickle.dumps(store)).size() == Size(WIDTH, HEIGHT)  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    ("x", "y", "shape"),
    [
        (1, 0, (256, 256, 3)),
        (0, 256, (132, 256, 3)),
        (0, 0, (256, 255, 3)),
        (512, 0, (256, 256, 3)),
        (-256, 0, (256, 256, 3)),
    ],
)
def test_blocks_off_the_chunk_grid_are_refused(tmp_path: Path, x: int, y: int, shape: tuple[int, ...]) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())
    with pytest.raises(OutputError, match="is not made of whole 256 px chunks of 613 x 389 px"):
        store.write_block(x, y, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("block", [np.zeros((256, 256), np.uint8), np.zeros((256, 256, 3), np.float32)])
def test_blocks_of_another_kind_are_refused(tmp_path: Path, block: np.ndarray[Any, Any]) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())
    with pytest.raises(OutputError, match="takes 3 channels of uint8"):
        store.write_block(0, 0, block)


@pytest.mark.parametrize("name", ["map", "map.ZARR", "map.zarr.tmp", "a.zarr/map.zarr"])
def test_names_that_qupath_cannot_open_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.zarr"):
        MapStore.create(tmp_path / name, spec())
    assert not list(tmp_path.iterdir())


def test_an_existing_store_is_not_overwritten_and_a_folder_is_no_store(tmp_path: Path) -> None:
    MapStore.create(tmp_path / "m.zarr", spec())
    with pytest.raises(OutputError, match="exists already"):
        MapStore.create(tmp_path / "m.zarr", spec())
    with pytest.raises(OutputError, match="is not an image store"):
        MapStore.open(tmp_path)


def test_bad_specs_are_refused() -> None:
    with pytest.raises(ValidationError, match="an rgb map must be uint8, not float32"):
        spec(dtype="float32")
    with pytest.raises(ValidationError, match="the map has no pixels: 0 x 5"):
        spec(size_map=Size(0, 5))


def test_full_disk_while_writing_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MapStore.create(tmp_path / "m.zarr", spec())

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        store.write_block(0, 0, np.zeros((256, 256, 3), np.uint8))
    assert not [path for path in (store.path / "0").rglob("*") if path.is_file() and not path.name.startswith(".z")]


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_what_was_never_written_is_known_without_reading(
    tmp_path: Path, noise: np.ndarray[Any, Any], channels: Literal["rgb", "gray"], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise if channels == "rgb" else noise[..., 1]
    store = MapStore.create(tmp_path / "sparse.zarr", spec(channels, size_map=Size(WIDTH, 4 * HEIGHT)))
    assert store.is_untouched(Box(0, 0, WIDTH, 4 * HEIGHT))
    store.write_block(256, 1024, image[:256, :256])
    assert not store.is_untouched(Box(0, 1024, WIDTH, 4 * HEIGHT - 1024))
    assert not store.is_untouched(Box(256, 768, 256, 257))
    assert store.is_untouched(Box(0, 0, WIDTH, 1024))
    assert store.is_untouched(Box(512, 1024, 1000, 1000))
    assert store.is_untouched(Box(256, 1024, 256, 256), level=1)
    plain, read = MapStore.read_block, []
    monkeypatch.setattr(MapStore, "read_block", lambda self, box, level=0: read.append(box) or plain(self, box, level))
    store.build_pyramid("mean")
    top = plain(store, Box(128, 512, 128, 128), 1).reshape(128, 128, -1)
    expected = image[:256, :256].reshape(128, 2, 128, 2, -1).mean((1, 3))
    assert np.abs(top - expected).max() <= 0.5
    assert len(read) == len(store.levels) - 1, "the written part of each level, and no glass"
