"""OME-Zarr folders that are damaged, or no slide of ours: what is lost, and which error says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import BZ2, LZ4, LZMA, Blosc, GZip, Pickle, Zlib, Zstd

from tests.slide.zarr_stores import CHUNK, HEIGHT, WIDTH, write_attributes, write_map, write_store, write_xml
from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError, WsiHer2Error
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide


def fails(path: Path, kind: type[WsiHer2Error], words: str, **options: Any) -> None:
    with pytest.raises(kind, match=words) as raised:
        open_slide(path, mpp=0.25, **options)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)
    assert raised.value.remedy


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


def test_readers_and_folders_that_do_not_fit(tmp_path: Path, scan: np.ndarray, svs: Path) -> None:
    fails(write_map(tmp_path / "a.zarr", scan), UnsupportedSlideError, "--reader openslide", reader="openslide")
    fails(svs, UnsupportedSlideError, "--reader zarr", reader="zarr")
    for reader in ("auto", "zarr"):
        fails(tmp_path, UnsupportedSlideError, "is a folder, not a slide", reader=reader)


CODECS = {
    "blosc": Blosc("lz4"), "zlib": Zlib(), "gzip": GZip(), "zstd": Zstd(), "lz4": LZ4(), "bz2": BZ2(), "lzma": LZMA(),
}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_chunk_that_becomes_more_than_its_place_costs_that_chunk(
    tmp_path: Path, scan: np.ndarray, codec: Any
) -> None:
    path = write_store(tmp_path / "a.zarr", scan, compressors=codec)
    with open_slide(path) as slide:
        assert np.array_equal(slide.overview(1).rgb, scan)
    bomb = codec.encode(bytes(64 * CHUNK * (CHUNK - 11)))
    (path / "s0/1/2/3").write_bytes(bomb)
    with open_slide(path) as slide:
        assert slide.overview(1).unreadable == CHUNK * (CHUNK - 11)
        with pytest.raises(CorruptSlideError, match="broken chunk s0/1/2/3"):
            slide.reader.read_level(0, Box(0, 0, 613, 389))
    for file in (path / "s0").rglob("*/*/*"):
        file.write_bytes(bomb)
    fails(path, CorruptSlideError, "broken chunk s0/")


def test_an_array_of_more_chunks_than_anybody_can_look_for(tmp_path: Path, scan: np.ndarray) -> None:
    path = write_store(tmp_path / "a.zarr", scan)
    array = json.loads((path / "s0/.zarray").read_text())
    (path / "s0/.zarray").write_text(json.dumps(array | {"shape": [3, 4000, 4000], "chunks": [1, 1, 1]}))
    fails(path, UnsupportedSlideError, "more than 4,194,304 pieces")
    (path / "s0/.zarray").write_text(json.dumps(array | {"shape": [3, 5_000_000, 40]}))
    fails(path, CorruptSlideError, "which no slide has")
