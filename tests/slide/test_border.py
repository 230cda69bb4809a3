"""Whatever a library raises while a slide is opened or read becomes an error of ours."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile

from wsi_pipeline.errors import CorruptSlideError, ResourceError, StoppedError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide import border, open_slide
from wsi_pipeline.slide.border import library_errors
from wsi_pipeline.slide.declared import check_jpeg, check_jpeg2000
from wsi_pipeline.slide.openslide_reader import OpenSlideReader
from wsi_pipeline.slide.tiff_tiles import TiffTiles

FOREIGN = (
    AttributeError("no such thing"), StopIteration(), cv2.error("said cv2"), struct.error("short"), ZeroDivisionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), RecursionError(), IndexError("out"), KeyError("x"),
    openslide.OpenSlideError("broken"), MemoryError(), OSError(errno.EIO, "Input/output error"), AssertionError(),
)  # fmt: skip


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_errors_of_libraries_name_the_file(error: Exception) -> None:
    with (
        pytest.raises(CorruptSlideError, match=r"a\.svs: cannot be read") as raised,
        library_errors(Path("a.svs"), "cannot be read"),
    ):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [StoppedError("the run", "was stopped"), KeyboardInterrupt(), SystemExit(3)])
def test_our_own_errors_and_ctrl_c_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, library_errors(Path("a.svs"), "cannot be read"):
        raise error
    assert raised.value is error


def test_memory_and_files_that_the_machine_lacks_are_not_the_slides_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="Too many open"), library_errors(Path("a.svs"), "cannot be read"):
        raise OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(border, "ROOM_BYTES", 2**60)
    with pytest.raises(ResourceError, match="memory"), library_errors(Path("a.svs"), "cannot be read"):
        raise MemoryError


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_a_reader_that_raises_anything_costs_its_tile(
    svs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    read = TiffTiles.read

    def fail(self: TiffTiles, level: int, box_lv: Box, parts_lv: object = None) -> object:
        if box_lv.intersection(Box(192, 128, 1, 1)).area:
            raise error
        return read(self, level, box_lv, parts_lv)  # type: ignore[arg-type]

    with open_slide(svs, reader="fast") as slide:
        monkeypatch.setattr(TiffTiles, "read", fail)
        monkeypatch.setattr(OpenSlideReader, "read_exactly", fail)
        shown = slide.overview(1)
    assert shown.unreadable == 64 * 64
    assert not shown.valid[128:192, 192:256].any()
    assert shown.valid.sum() == 613 * 389 - 64 * 64


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_an_opening_that_raises_anything_is_a_corrupt_slide(
    svs: Path, ome: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(tifffile.TiffPage, "__init__", fail)
    monkeypatch.setattr("wsi_pipeline.slide.openslide_reader.open_tiff", fail)
    for path in (svs, ome):
        with pytest.raises(CorruptSlideError, match=path.name):
            open_slide(path)


def test_a_slide_of_which_no_tile_can_be_decoded_is_refused(svs: Path, break_tile: Callable[..., None]) -> None:
    for column, row in ((4, 3), (0, 0), (9, 6)):
        break_tile(svs, column, row)
    with pytest.raises(CorruptSlideError):
        open_slide(svs)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
@pytest.mark.parametrize("reader", ["auto", "openslide", "image"])
def test_a_pipe_is_refused_unread(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "x.svs"
    os.mkfifo(path)
    with pytest.raises(UnsupportedSlideError, match="pipe or a device"):
        open_slide(path, reader=reader)


def test_jpeg_streams_that_declare_more_than_their_place() -> None:
    sound = imagecodecs.jpeg_encode(np.zeros((64, 48, 3), np.uint8))
    check_jpeg(sound, Size(48, 64))
    at = sound.index(b"\xff\xc0") + 5
    bomb = sound[:at] + struct.pack(">HH", 65500, 65500) + sound[at + 4 :]
    with pytest.raises(ValueError, match="declares 65500 x 65500 px"):
        check_jpeg(bomb, Size(48, 64))
    with pytest.raises(ValueError, match="goes over its pixels"):
        check_jpeg(sound + b"\xff\xda" * 501, Size(48, 64))


@pytest.mark.parametrize("codec", ["j2k", "jp2"])
def test_jpeg_2000_streams_that_declare_more_than_their_place(codec: str) -> None:
    sound = imagecodecs.jpeg2k_encode(np.zeros((64, 48, 3), np.uint8), codecformat=codec)
    check_jpeg2000(sound, Size(48, 64))
    at = sound.index(b"\xff\x4f\xff\x51") + 8
    bomb = sound[:at] + struct.pack(">II", 2**20, 2**20) + sound[at + 8 :]
    with pytest.raises(ValueError, match="declares 1048576 x 1048576 px"):
        check_jpeg2000(bomb, Size(48, 64))
    with pytest.raises(ValueError, match="no JPEG 2000"):
        check_jpeg2000(b"\0" * 100, Size(48, 64))
    pieces = sound[: at + 16] + struct.pack(">II", 1, 1) + sound[at + 24 :]
    check_jpeg2000(pieces, Size(48, 64))
    with pytest.raises(ValueError, match="pieces of 1 x 1 px"):
        check_jpeg2000(pieces.replace(struct.pack(">II", 48, 64), struct.pack(">II", 96, 64)), Size(96, 64))


CODECS = ("jpeg", "jpeg2000", "png", "webp", "deflate", "lzw", "zstd")


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiles_that_become_more_than_their_place_are_refused(
    tmp_path: Path, scan: np.ndarray, compression: str, order: str
) -> None:
    path = tmp_path / "bomb.tif"
    codec = {"jpeg2000": "jpeg2k", "deflate": "zlib"}.get(compression, compression)
    encode, huge = getattr(imagecodecs, f"{codec}_encode"), np.zeros((1600, 1600, 3), np.uint8)
    bomb = encode(huge if codec in {"jpeg", "jpeg2k", "png", "webp"} else huge.tobytes())
    with tifffile.TiffWriter(path, byteorder=order) as writer:
        writer.write(
            iter([bomb] * 70), shape=scan.shape, dtype=np.uint8, tile=(64, 64), photometric="rgb",
            compression=compression, metadata=None,
        )  # fmt: skip
    if compression == "lzw":  # decoded as far as its place goes, as every reader does
        with open_slide(path, mpp=0.25) as slide:
            assert not slide.overview(1).rgb.any()
        return
    with pytest.raises(CorruptSlideError):
        open_slide(path, mpp=0.25, reader="tiffslide")


@pytest.mark.parametrize("compression", ["png", "webp", "jpegxl", "jpegxr"])
@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 100}])
def test_sound_tiles_of_the_bounded_codecs_are_read(
    tmp_path: Path, scan: np.ndarray, compression: str, layout: dict[str, object]
) -> None:
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, scan, photometric="rgb", compression=compression, metadata=None, **layout)
    with open_slide(path, mpp=0.25) as slide:
        assert np.abs(slide.overview(1).rgb.astype(int) - tifffile.imread(path)).max() == 0
