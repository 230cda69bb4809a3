"""JPEG tiles may be padded behind their end in any way; those that end before all of their picture are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from tests.slide.against_openslide import TABLES, furthest, padded_tiles, tables_of, without
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.jpeg_end import JPEG_END, jpeg_end

NOISE = np.random.default_rng(3).bytes(700)
TAILS = {
    "nothing": b"",
    "one byte": b"\0",
    "a word": b"\1\2\3\4",
    "zeros": bytes(5000),
    "fill bytes": b"\xff" * 300,
    "noise": NOISE,
    "noise with an end": NOISE + JPEG_END,
    "an end at each place": JPEG_END * 50,
    "another picture": cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes(),
}


def with_application_data(jpeg: bytes) -> bytes:
    """Return the stream with two ends and a scan inside segments that no decoder looks at."""
    hidden = b"\xff\xda" + JPEG_END + b"\xff\xd8" + JPEG_END
    segments = b"".join(b"\xff" + bytes([code]) + b"\0\x0a" + hidden for code in (0xE5, 0xFE))
    return jpeg[:2] + segments + jpeg[2:]


def encoded(tile: np.ndarray, *options: int) -> bytes:
    """Return a tile as JPEG, as OpenCV encodes it: baseline unless the options say otherwise."""
    return cv2.imencode(".jpg", tile[..., ::-1], list(options))[1].tobytes()


KINDS: dict[str, Callable[[np.ndarray], bytes]] = {
    "baseline": encoded,
    "restarts": lambda tile: encoded(tile, cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "progressive": lambda tile: encoded(tile, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "application data": lambda tile: with_application_data(encoded(tile)),
    "4:4:0": lambda tile: imagecodecs.jpeg8_encode(tile, level=90, subsampling="440"),
    "4:1:1": lambda tile: imagecodecs.jpeg8_encode(tile, level=90, subsampling="411"),
}


@pytest.fixture
def write_jpegs(tmp_path: Path, scan: np.ndarray) -> Callable[..., tuple[Path, np.ndarray]]:
    """Return a writer of the scan in JPEG tiles with something behind each, and what OpenCV decodes of them."""

    def write(kind: str, tail: bytes = b"", *, tables: bool = False, cut: float = 1) -> tuple[Path, np.ndarray]:
        tiles = [KINDS[kind](tile) for tile in padded_tiles(scan, 128)]
        picture = np.zeros((512, 640, 3), np.uint8)
        for index, tile in enumerate(tiles):
            y, x = divmod(index, 5)
            window = slice(y * 128, y * 128 + 128), slice(x * 128, x * 128 + 128)
            picture[window] = cv2.imdecode(np.frombuffer(tile, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        kept = tables_of(tiles[0])
        more = {"extratags": [(347, 7, len(kept), kept, True)]} if tables else {}

        def stored() -> Iterator[bytes]:
            for tile in tiles:
                data = without(tile, TABLES) if tables else tile
                yield data[: int(len(data) * cut)] + tail

        path = tmp_path / "scan.tif"
        options = {"compression": "jpeg", "photometric": "ycbcr", "metadata": None, **more}
        tifffile.imwrite(path, stored(), shape=scan.shape, dtype=np.uint8, tile=(128, 128), **options)
        return path, picture[:389, :613]

    return write


@pytest.mark.parametrize(
    ("kind", "tail"), [*(("baseline", tail) for tail in TAILS), *((kind, "noise with an end") for kind in KINDS)]
)
def test_what_lies_behind_the_end_changes_nothing(
    write_jpegs: Callable[..., tuple[Path, np.ndarray]], kind: str, tail: str
) -> None:
    path, picture = write_jpegs(kind, TAILS[tail])
    for reader in ("auto", "tiffslide"):
        with open_slide(path, reader=reader, require_mpp=False) as slide:
            assert slide.info.reader == ("fast" if reader == "auto" else reader)
            assert slide.info.warnings == ()
            read = slide.overview(1)
        assert read.unreadable == 0
        assert furthest(read.rgb, picture) <= 1


def test_abbreviated_streams_may_be_padded_too(write_jpegs: Callable[..., tuple[Path, np.ndarray]]) -> None:
    path, picture = write_jpegs("baseline", bytes(512), tables=True)
    with open_slide(path, require_mpp=False) as slide:
        assert slide.info.reader == "fast"
        assert furthest(slide.overview(1).rgb, picture) <= 1


@pytest.mark.parametrize(
    ("kind", "tail"),
    [
        *(("baseline", tail) for tail in ("nothing", "zeros", "fill bytes", "noise")),
        *((kind, "noise with an end") for kind in KINDS),
    ],
)
def test_a_stream_that_ends_early_is_found(
    write_jpegs: Callable[..., tuple[Path, np.ndarray]], break_tile: Callable[..., None], kind: str, tail: str
) -> None:
    path, picture = write_jpegs(kind, bytes(64))
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    rest = count - count // 2
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write((TAILS[tail] * (rest // max(len(TAILS[tail]), 1) + 1))[:rest] if TAILS[tail] else bytes([17]) * rest)
    with open_slide(path, reader="tiffslide", require_mpp=False) as slide:
        read = slide.overview(1)
    lost = np.zeros(picture.shape[:2], bool)
    lost[128:256, 256:384] = True
    assert read.unreadable == lost.sum()
    assert np.array_equal(~read.valid, lost)
    assert furthest(np.where(lost[..., None], 255, picture), read.rgb) <= 1


def test_an_end_by_chance_in_damage_is_none(write_jpegs: Callable[..., tuple[Path, np.ndarray]]) -> None:
    path, _picture = write_jpegs("baseline")
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write(JPEG_END)  # sound data follow, which nothing draws
    with open_slide(path, reader="tiffslide", require_mpp=False) as slide:
        assert slide.overview(1).unreadable == 128 * 128


def test_the_end_is_where_the_segments_say() -> None:
    stream = encoded(np.full((32, 48, 3), 90, np.uint8))
    assert jpeg_end(stream) == len(stream)
    assert jpeg_end(with_application_data(stream) + bytes(9)) == len(stream) + 24
    assert jpeg_end(stream[:-2]) == 0
    assert jpeg_end(stream[:-2] + b"\xff\xff\xff\xd9") == len(stream) + 2  # fill bytes before a marker
    assert jpeg_end(stream[:-2] + b"\xff\xc8" + stream) == 0  # a marker that no scan holds
    for length in range(len(stream)):
        assert jpeg_end(stream[:length]) == 0
    assert jpeg_end(b"") == 0
