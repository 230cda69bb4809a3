"""Where a JPEG stream ends, and whether it ends before all of its image was written."""

from __future__ import annotations

import re

START_OF_SCAN, END_OF_IMAGE, ESCAPE = 0xDA, 0xD9, 0xFF
"""Second bytes of markers, and the first byte of all (ITU T.81, B.1.1)."""

WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
"""Markers that stand alone: TEM, start of image, restarts."""

SCAN_ENDS = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
"""What cannot occur in entropy-coded data, where an 0xFF is followed by 0 or belongs to a restart marker."""

NEAR_END = 16
"""Bytes behind the end of the image that are not looked at: encoders fill up to whole words."""


def end_of_image(data: bytes) -> int:
    """Return the offset behind the end-of-image marker of a JPEG stream, or -1 where it has none.

    Segments are skipped by their length, so that a thumbnail in one of them does not count.
    """
    at = 0
    while 0 <= at < len(data) - 1:
        if data[at] != ESCAPE:
            return -1
        marker = data[at + 1]
        if marker == END_OF_IMAGE:
            return at + 2
        if marker == ESCAPE:  # a fill byte
            at += 1
        elif marker in WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == START_OF_SCAN:
                found = SCAN_ENDS.search(data, at)
                at = found.end() - 2 if found else -1
    return -1


def ends_early(data: bytes) -> bool:
    """Return whether a JPEG stream lacks its end, or goes on behind it.

    Padding behind the end means nothing. But where what follows is entropy-coded data up to another end, the first
    one is a flipped bit, and the image is cut off there.
    """
    end = end_of_image(data)
    if end < 0:
        return True
    last = data.rfind(bytes((ESCAPE, END_OF_IMAGE)), end)
    if last - end <= NEAR_END:
        return False
    between = data[end:last]
    return len(set(between)) > 1 and SCAN_ENDS.search(between) is None
