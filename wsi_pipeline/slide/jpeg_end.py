"""Where the picture of a JPEG tile ends in its bytes: it may be padded behind its end, but not cut short before it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"

SHORT_TAIL = 14
"""So many bytes behind the end are padding, whatever they are: tiles are aligned to words of up to 16 bytes."""

NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker in entropy-coded data other than stuffed and fill bytes and restarts (ITU-T T.81, B.1.1)."""

SEGMENTS = frozenset({0xC4, 0xCC, *range(0xDA, 0xE0), *range(0xE0, 0xF0), 0xFE})
"""Markers with a length that may follow a scan: tables, the next scan, application data and comments."""

FRAMES = frozenset(range(0xC0, 0xD0))

MORE_DATA = np.random.default_rng(0).integers(0, 255, 4096, np.uint8).tobytes()
"""Entropy-coded data without any marker, which no picture ends with."""


def jpeg_end(data: bytes) -> int:
    """Return how many bytes the JPEG stream takes up to and with its end, 0 where it does not come to one.

    Segments are skipped by their length, since the end's two bytes may be part of application data; none are inside
    entropy-coded data. Streams of old TIFFs, whose header is elsewhere, begin with that.
    """
    at = 0
    if data.startswith(JPEG_START):
        at = _behind_segments(data, 2, FRAMES | SEGMENTS)
    while found := NEXT_MARKER.search(data, at):
        if found[0] == JPEG_END:
            return found.end()
        at = _behind_segments(data, found.start(), SEGMENTS)
        if at == found.start():  # noise
            return 0
    return 0


def _behind_segments(data: bytes, at: int, known: frozenset[int]) -> int:
    """Return the first byte behind the segments that begin at a byte; the last of them is a scan's header."""
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker not in known:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            break
    return at


def is_whole(data: bytes, end: int, decode: Callable[[bytes], NDArray[np.uint8]], pixels: NDArray[np.uint8]) -> bool:
    """Return whether all of a tile was there before the end of its stream, whose `pixels` were decoded.

    Damage may show an end by chance: what lies behind it is then neither short nor padding of one value. A whole
    picture does not change when more data is put in before its end; the rest of another one would be drawn from it.
    """
    tail = data[end:]
    if len(tail) <= SHORT_TAIL or tail.count(tail[:1]) == len(tail):
        return True
    return bool(np.array_equal(decode(data[: end - len(JPEG_END)] + MORE_DATA + JPEG_END), pixels))
