"""The directories (IFDs) of a TIFF, read with bounds by our own code: no circle is walked, no table is read whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.slide.border import BROKEN_REMEDY

IMAGES_MAX = 10_000
"""Most images that a file may hold, those in SubIFDs counted: scans have 20, stacks some thousands."""

ENTRIES_MAX = 4096
"""Most entries of a directory; tifffile and libtiff call more suspicious too."""

SUB_IFDS = 330
NDPI_FORMAT = 65420
"""Tag that Hamamatsu writes into its slides, whose offsets have 64 bits although the header says 32."""

TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value by its type (TIFF 6.0, section 2, and BigTIFF)."""

UNSIGNED = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types of whole numbers that are never negative: BYTE, SHORT, LONG, IFD, LONG8, IFD8, as struct calls them."""


class Entry(NamedTuple):
    """One tag of a directory: `number` values of `type`, the first at byte `at` of the file."""

    tag: int
    type: int
    number: int
    at: int

    @property
    def bytes(self) -> int:
        """Bytes of all values, 0 for an unknown type."""
        return TYPE_BYTES.get(self.type, 0) * self.number


@dataclass(frozen=True)
class Directory:
    """One image: what people call it, its entries by tag, and the tags that are there twice."""

    name: str
    entries: dict[int, Entry]
    twice: frozenset[int]


class TiffDirectories:
    """Walks the directories of an open TIFF, classic or BigTIFF, in either byte order."""

    def __init__(self, path: Path, file: BinaryIO, length: int) -> None:
        """Read the header. Raises CorruptSlideError where there is none, or it points beyond the `length` bytes."""
        self._path, self._file, self.length = path, file, length
        head = self._read(0, 16)
        self.order = "<" if head.startswith(b"II") else ">"
        self._is_big = head[2:4] in {b"+\0", b"\0+"}
        self._is_ndpi = not self._is_big and self.order == "<" and self._is_marked()
        self._seen: set[int] = set()
        self._first = self._pointer(8 if self._is_big else 4)

    def __iter__(self) -> Iterator[Directory]:
        """Yield every directory, those in SubIFDs after their own.

        Raises:
            CorruptSlideError: a circle, or a directory beyond the end of the file.
            UnsupportedSlideError: more than IMAGES_MAX images.
        """
        at, number = self._first, 0
        while at:
            number += 1
            directory, after = self._directory(at, f"image {number}")
            yield directory
            subs = directory.entries.get(SUB_IFDS)
            for sub_number, sub in enumerate(self.values(subs, IMAGES_MAX) if subs else (), 1):
                yield self._directory(sub, f"image {number}.{sub_number}")[0]
            at = self._pointer(after)

    def values(self, entry: Entry, most: int) -> tuple[int, ...]:
        """Return the first values of an entry, `most` at most; raises CorruptSlideError unless they are UNSIGNED."""
        code = UNSIGNED.get(entry.type)
        if code is None:
            raise CorruptSlideError(self._path, f"is no sound TIFF: tag {entry.tag} is no whole number", BROKEN_REMEDY)
        count = min(entry.number, most)
        return struct.unpack(f"{self.order}{count}{code}", self._read(entry.at, count * TYPE_BYTES[entry.type]))

    def _directory(self, at: int, name: str) -> tuple[Directory, int]:
        """Return the directory at a byte of the file, and where the pointer to the next one lies."""
        if at in self._seen:
            raise CorruptSlideError(
                self._path, f"is no sound TIFF: its images run in a circle at {name}", BROKEN_REMEDY
            )
        if at >= self.length:
            raise CorruptSlideError(self._path, f"is truncated: {name} begins beyond its end", BROKEN_REMEDY)
        self._seen.add(at)
        if len(self._seen) > IMAGES_MAX:
            problem = f"holds more than {IMAGES_MAX} images"
            raise UnsupportedSlideError(self._path, problem, "export the scan alone as a tiled pyramidal TIFF")
        count = self._number(at, "Q" if self._is_big else "H")
        if not 0 < count <= ENTRIES_MAX:
            problem = f"is no sound TIFF: {name} has {count} tags"
            raise CorruptSlideError(self._path, problem, BROKEN_REMEDY)
        begin, step = (at + 8, 20) if self._is_big else (at + 2, 12)
        after = begin + count * step
        data = self._read(begin, count * step)
        high = self._high_words(after, count)
        entries: dict[int, Entry] = {}
        twice = set()
        for index, (tag, kind, number, value) in enumerate(
            struct.iter_unpack(f"{self.order}HH{'QQ' if self._is_big else 'II'}", data)
        ):
            if tag in entries:
                twice.add(tag)
                continue
            size, inline = TYPE_BYTES.get(kind, 0) * number, 8 if self._is_big else 4
            place = begin + (index + 1) * step - inline if size <= inline else value + high[index]
            entries[tag] = Entry(tag, kind, number, place)
        return Directory(name, entries, frozenset(twice)), after

    def _is_marked(self) -> bool:
        """Return whether a pointer of 64 bits leads to a directory that NDPI_FORMAT marks, as in no other file."""
        at = self._number(4, "Q")
        count = self._number(at, "H") if at + 2 <= self.length else 0
        if not 0 < count <= ENTRIES_MAX or at + 2 + 12 * count > self.length:
            return False
        return any(tag == NDPI_FORMAT for (tag,) in struct.iter_unpack("<H10x", self._read(at + 2, 12 * count)))

    def _high_words(self, after: int, count: int) -> tuple[int, ...]:
        """Return what is to be added to the values of a directory that ends at `after`: their high words in NDPI."""
        if not self._is_ndpi:
            return (0,) * count
        words = struct.unpack(f"{self.order}{count}I", self._read(after + 8, 4 * count))
        return tuple(word << 32 for word in words)

    def _pointer(self, at: int) -> int:
        """Return the offset of a directory that is stored at a byte of the file."""
        return self._number(at, "Q" if self._is_big or self._is_ndpi else "I")

    def _number(self, at: int, code: str) -> int:
        """Return one whole number of the file."""
        form = struct.Struct(self.order + code)
        return int(form.unpack(self._read(at, form.size))[0])

    def _read(self, at: int, count: int) -> bytes:
        """Return bytes of the file. Raises CorruptSlideError where it has fewer."""
        if at + count <= self.length:
            self._file.seek(at)
            data = self._file.read(count)
            if len(data) == count:
                return data
        raise CorruptSlideError(self._path, f"is truncated: a TIFF that ends before byte {at + count}", BROKEN_REMEDY)
