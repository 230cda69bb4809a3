"""Where JPEG streams end, whatever lies in their segments and behind them."""

from __future__ import annotations

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.slide.jpeg_stream import end_of_image, ends_early

IMAGE = np.random.default_rng(3).integers(0, 256, (53, 91, 3), np.uint8)
STREAM = bytes(imagecodecs.jpeg8_encode(IMAGE, level=80))
SCAN_AT = STREAM.index(b"\xff\xda")


def with_thumbnail(stream: bytes) -> bytes:
    """Return a stream with another one in an application segment, as cameras write it."""
    return stream[:2] + b"\xff\xe1" + (len(stream) + 2).to_bytes(2, "big") + stream + stream[2:]


def test_the_end_is_that_of_the_image() -> None:
    assert end_of_image(STREAM) == len(STREAM)
    assert end_of_image(with_thumbnail(STREAM)) == len(with_thumbnail(STREAM))
    assert end_of_image(STREAM + bytes(7)) == len(STREAM)


@pytest.mark.parametrize("level", [20, 95])
def test_progressive_streams_end_behind_their_last_scan(level: int) -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, level]
    stream = cv2.imencode(".jpg", IMAGE, options)[1].tobytes()
    assert stream.count(b"\xff\xda") > 1
    assert end_of_image(stream) == len(stream)
    assert not ends_early(stream + b"\xff" * 40)


@given(st.sampled_from([b"\0", b"\xff", b"ab"]), st.integers(0, 2000))
def test_padding_is_no_early_end(unit: bytes, times: int) -> None:
    assert not ends_early(STREAM + unit * times)


@given(st.integers(SCAN_AT + 20, len(STREAM) - 40))
def test_cut_and_flipped_streams_end_early(at: int) -> None:
    assert ends_early(STREAM[:at])
    assert ends_early(STREAM[:at] + bytes(len(STREAM) - at))
    if STREAM[at - 1] != 0xFF:
        assert ends_early(STREAM[:at] + b"\xff\xd9" + STREAM[at + 2 :])


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8", b"not a stream", b"\xff\xd8\xff\xda\0", b"\xff\xd8\xff\xe1\xff\xff"]
)
def test_what_is_no_stream_has_no_end(data: bytes) -> None:
    assert end_of_image(data) == -1
    assert ends_early(data)
