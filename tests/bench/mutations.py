"""Slides altered where a reader believes them: tags, directories, tables, streams, JSON. Seeded, and told in words."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import tifffile

NASTY = (0, 1, 2, 3, 7, 8, 9, 15, 16, 255, 256, 4096, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
"""Numbers at which programs differ."""

TAGS = (254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284, 296, 305, 317, 322, 323, 324,
        325, 330, 338, 339, 347, 513, 530, 532, 32997, 34675, 65420)  # fmt: skip
TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 99, 65535)

JSON_VALUES: tuple[Any, ...] = (None, -1, 0, 1, 2**40, 1.5, float("1e300"), "x", "", [], {}, [0], True, "\ud800")


KINDS = {
    "tag": 3, "type": 4, "count": 4, "value": 6, "resolution": 1, "pointer": 2, "table": 3, "truncate": 2,
    "header": 2, "flip": 3, "stream": 4, "text": 2,
}  # fmt: skip
"""Kind of alteration -> how often, relative to the others."""


class Tag(NamedTuple):
    """Where an entry of a directory lies in the file, where its values, and how many of how many bytes there are."""

    code: int
    at: int
    values_at: int
    values: int
    width: int


class TiffMap(NamedTuple):
    """What may be altered in a TIFF: its tags, the pointers to directories, and (offset, bytes) of its tiles."""

    order: str
    is_big: bool
    tags: tuple[Tag, ...]
    pointers: tuple[int, ...]
    tiles: tuple[tuple[int, int], ...]


def map_tiff(path: Path) -> TiffMap:
    """Return what may be altered in a sound TIFF."""
    tags: list[Tag] = []
    tiles: list[tuple[int, int]] = []
    with tifffile.TiffFile(path) as tiff:
        is_big = tiff.is_bigtiff
        pointers = [8 if is_big else 4]
        for found in tiff.pages:
            page = found.aspage()
            for one in (page, *(sub.aspage() for sub in page.pages or ())):
                tags += [
                    Tag(int(tag.code), tag.offset, tag.valueoffset, tag.count, WIDTHS.get(int(tag.dtype), 1))
                    for tag in one.tags
                ]
                head, step = (8, 20) if is_big else (2, 12)
                pointers.append(one.offset + head + step * len(one.tags))
                tiles += [(at, count) for at, count in zip(one.dataoffsets, one.databytecounts, strict=False) if count]
        return TiffMap(tiff.byteorder, is_big, tuple(tags), tuple(pointers), tuple(tiles))


WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class TiffMutator:
    """Alters copies of one TIFF."""

    def __init__(self, path: Path) -> None:
        """Read the sound file, which is small enough to be held."""
        self._data, self._map = path.read_bytes(), map_tiff(path)
        self.suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".ome.tif") else path.suffix

    def mutate(self, dice: random.Random) -> tuple[bytes, str]:
        """Return an altered copy, and what was altered in it."""
        data = bytearray(self._data)
        kinds = dice.choices(list(KINDS), list(KINDS.values()), k=dice.choice((1, 1, 1, 2, 3)))
        words = [f"{kind}({getattr(self, f'_{kind}')(data, dice)})" for kind in kinds]
        return bytes(data), " + ".join(words)

    def _put(self, data: bytearray, at: int, width: int, number: int) -> None:
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}[width]
        if at + width <= len(data):
            struct.pack_into(self._map.order + code, data, at, number % (1 << 8 * width))

    def _any_tag(self, dice: random.Random) -> Tag:
        return dice.choice(self._map.tags)

    def _tag(self, data: bytearray, dice: random.Random) -> str:
        tag, code = self._any_tag(dice), dice.choice(TAGS)
        self._put(data, tag.at, 2, code)
        return f"{tag.code}->{code}"

    def _type(self, data: bytearray, dice: random.Random) -> str:
        tag, kind = self._any_tag(dice), dice.choice(TYPES)
        self._put(data, tag.at + 2, 2, kind)
        return f"{tag.code}: {kind}"

    def _count(self, data: bytearray, dice: random.Random) -> str:
        tag, count = self._any_tag(dice), dice.choice((*NASTY, dice.randrange(100)))
        self._put(data, tag.at + 4, 8 if self._map.is_big else 4, count)
        return f"{tag.code}: {count}"

    def _value(self, data: bytearray, dice: random.Random) -> str:
        tag, value = self._any_tag(dice), dice.choice((*NASTY, dice.randrange(2**16), dice.randrange(2**32)))
        self._put(data, tag.values_at, tag.width, value)
        return f"{tag.code}: {value}"

    def _resolution(self, data: bytearray, dice: random.Random) -> str:
        tags = [tag for tag in self._map.tags if tag.code in {282, 283, 296}]
        if not tags:
            return "none"
        tag, value = dice.choice(tags), dice.choice(NASTY)
        self._put(data, tag.at + 2, 2, dice.choice((2, 3, 4, 5, 9, 10, 11, 12)))
        self._put(data, tag.values_at + dice.choice((0, 4)) * (tag.width == 8), min(tag.width, 4), value)
        return f"{tag.code}: {value}"

    def _pointer(self, data: bytearray, dice: random.Random) -> str:
        at = dice.choice(self._map.pointers)
        places = (*self._map.pointers, dice.randrange(len(data)), len(data) - 1, *NASTY, self._map.tags[0].at - 2)
        value = dice.choice(places)
        self._put(data, at, 8 if self._map.is_big else 4, value)
        return f"{at}: {value}"

    def _table(self, data: bytearray, dice: random.Random) -> str:
        tags = [tag for tag in self._map.tags if tag.code in {273, 279, 324, 325}]
        tag, value = dice.choice(tags), dice.choice((*NASTY, dice.randrange(len(data))))
        entry = dice.randrange(tag.values)
        self._put(data, tag.values_at + entry * tag.width, tag.width, value)
        return f"{tag.code}[{entry}]: {value}"

    def _truncate(self, data: bytearray, dice: random.Random) -> str:
        length = dice.choice((dice.randrange(len(data)), len(data) - dice.randrange(1, 300), dice.randrange(1, 300)))
        del data[max(length, 1) :]
        return str(length)

    def _header(self, data: bytearray, dice: random.Random) -> str:
        at, value = dice.randrange(2, 16), dice.randrange(256)
        if at < len(data):
            data[at] = value
        return f"{at}: {value}"

    def _flip(self, data: bytearray, dice: random.Random) -> str:
        places = []
        for _ in range(dice.randrange(1, 6)):
            at = self._any_tag(dice).at + dice.randrange(20 if self._map.is_big else 12)
            if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            places.append(str(at))
        return " ".join(places)

    def _stream(self, data: bytearray, dice: random.Random) -> str:
        start, count = dice.choice((*self._map.tiles[:3], dice.choice(self._map.tiles)))
        at = start + dice.randrange(min(count, 700))
        frame = data.find(b"\xff\xc0", start, start + count)
        if frame >= 0 and dice.random() < 0.4:
            at = frame + dice.randrange(2, 17)
        for place in range(at, min(at + dice.choice((1, 2, 4)), len(data))):
            data[place] = dice.choice((0, 1, 0xFF, dice.randrange(256)))
        return str(at)

    def _text(self, data: bytearray, dice: random.Random) -> str:
        tags = [tag for tag in self._map.tags if tag.code in {270, 305} and tag.values > 8]
        if not tags:
            return "none"
        tag = dice.choice(tags)
        at = tag.values_at + dice.randrange(tag.values - 1)
        data[at : at + 1] = bytes([dice.choice((0, 9, 34, 38, 60, 62, 0xFF, 0xC3, 48 + dice.randrange(10)))])
        return f"{tag.code}+{at - tag.values_at}"


def mutate_png(data: bytes, dice: random.Random) -> tuple[bytes, str]:
    """Return an altered PNG; the sum of an altered first chunk is made right, or nobody would look inside."""
    altered = bytearray(data)
    if dice.random() < 0.5:
        at = 16 + dice.randrange(13)
        altered[at] = dice.choice((0, 1, 2, 3, 4, 6, 8, 16, 0xFF, dice.randrange(256)))
        altered[29:33] = zlib.crc32(altered[12:29]).to_bytes(4, "big")
        return bytes(altered), f"IHDR {at}"
    return flip(bytes(altered), dice, 2000)


def flip(data: bytes, dice: random.Random, first: int) -> tuple[bytes, str]:
    """Return the data with some of its `first` bytes altered, or cut off somewhere."""
    if dice.random() < 0.2:
        length = dice.randrange(1, len(data))
        return data[:length], f"cut at {length}"
    altered, places = bytearray(data), []
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(min(first, len(data)))
        altered[at] = dice.choice((0, 0xFF, dice.randrange(256)))
        places.append(str(at))
    return bytes(altered), "bytes " + " ".join(places)


def mutate_json(text: str, dice: random.Random) -> tuple[str, str]:
    """Return a JSON document in which a value was replaced, a key was dropped, or the text was cut."""
    if dice.random() < 0.1:
        return text[: dice.randrange(len(text))], "cut"
    document = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(inside, dict | list):
                walk(inside)

    walk(document)
    holder, key = dice.choice(places)
    if isinstance(holder, dict) and dice.random() < 0.3:
        del holder[key]
        return json.dumps(document), f"without {key}"
    holder[key] = dice.choice(JSON_VALUES)
    return json.dumps(document), f"{key}: {holder[key]!r}"


def as_png(pixels: Any) -> bytes:
    """Return pixels as a PNG."""
    from PIL import Image  # noqa: PLC0415

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
