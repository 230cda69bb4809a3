"""Whether a TIFF is sound as far as its tags say, looked at before any library opens it; no pixel is decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Size, ceil_div
from wsi_pipeline.slide.border import BROKEN_REMEDY
from wsi_pipeline.slide.tiff_directory import UNSIGNED, Directory, TiffDirectories

SIDE_MAX = 2**22
"""Longest side of an image, px: one metre of glass at 0.25 um/px. More than that is no statement about a slide."""

SEGMENT_PX_MAX = 2**26
"""Largest tile or strip that is decoded at once, px: 8192 x 8192, 192 MiB of RGB."""

TEXT_OR_BYTES = frozenset({1, 2, 7})
WHOLE_NUMBERS = frozenset(UNSIGNED)

WIDTH, LENGTH, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, SAMPLES, PLANAR = 256, 257, 278, 322, 323, 277, 284
DEPTH, TILE_DEPTH = 32997, 32998
BITS, COMPRESSED, COLOURS, SAMPLE_FORMAT, SUBSAMPLING = 258, 259, 262, 339, 530
STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS, OLD_JPEG = 273, 279, 324, 325, 513

ONE_NUMBER = {
    254: "NewSubfileType", WIDTH: "ImageWidth", LENGTH: "ImageLength", COMPRESSED: "Compression",
    COLOURS: "PhotometricInterpretation", SAMPLES: "SamplesPerPixel", ROWS_PER_STRIP: "RowsPerStrip",
    PLANAR: "PlanarConfiguration", 317: "Predictor", TILE_WIDTH: "TileWidth", TILE_LENGTH: "TileLength",
    DEPTH: "ImageDepth", TILE_DEPTH: "TileDepth",
}  # fmt: skip
"""Tags that state one whole number each (TIFF 6.0, and those of volumes, which are flat in slides)."""

NUMBERS = {
    BITS: "BitsPerSample", STRIP_OFFSETS: "StripOffsets", STRIP_COUNTS: "StripByteCounts", TILE_OFFSETS: "TileOffsets",
    TILE_COUNTS: "TileByteCounts", 330: "SubIFDs", 338: "ExtraSamples", SAMPLE_FORMAT: "SampleFormat",
    SUBSAMPLING: "YCbCrSubSampling",
}  # fmt: skip
"""Tags that state whole numbers."""

BYTES = {270: "ImageDescription", 347: "JPEGTables"}

NAMES = ONE_NUMBER | NUMBERS | BYTES
"""The tags that readers rely on. Resolution tags are none: what they say does not touch a pixel."""

LOOKED_AT = 4096
"""So many of an image's tiles are looked at."""

POSITIVE = (WIDTH, LENGTH, SAMPLES, ROWS_PER_STRIP, TILE_WIDTH, TILE_LENGTH, DEPTH, TILE_DEPTH)

CODES = {
    COMPRESSED: frozenset(int(code) for code in COMPRESSION),
    COLOURS: frozenset(int(code) for code in PHOTOMETRIC),
    PLANAR: frozenset(int(code) for code in PLANARCONFIG),
}
"""Values that mean something."""

IN_ALL = {BITS: range(1, 65), SAMPLE_FORMAT: range(1, 7), SUBSAMPLING: (1, 2, 4)}
"""What each value of a tag may be (TIFF 6.0, sections 19 and 21)."""


def check_structure(path: Path) -> None:
    """Walk all images of a TIFF and check the tags that readers rely on.

    Raises:
        CorruptSlideError: directories in a circle or beyond the end, tags of a type, count or value that cannot be,
            fewer tile entries than tiles.
        UnsupportedSlideError: too many images, tiles too large to decode.
    """
    with path.open("rb") as file:
        directories = TiffDirectories(path, file, os.fstat(file.fileno()).st_size)
        for directory in directories:
            _Check(path, directories, directory).run()


class _Check:
    """The checks of one image."""

    def __init__(self, path: Path, file: TiffDirectories, image: Directory) -> None:
        self._path, self._file, self._image = path, file, image

    def run(self) -> None:
        """Check the image; raises what `check_structure` raises."""
        for tag in NAMES.keys() & self._image.entries.keys():
            self._check_entry(tag)
        stated = {tag: self._number(tag) for tag in ONE_NUMBER if tag in self._image.entries}
        for tag in POSITIVE:
            if stated.get(tag, 1) < 1:
                self._fail(f"states 0 for {NAMES[tag]}")
        for tag, known in CODES.items():
            if tag in stated and stated[tag] not in known:
                self._fail(f"states {stated[tag]} for {NAMES[tag]}, which means nothing")
        if WIDTH in stated and LENGTH in stated:
            self._check_samples()
            self._check_size(Size(stated[WIDTH], stated[LENGTH]))
            self._check_grid(stated)
            if stated.get(COMPRESSED, COMPRESSION.NONE) == COMPRESSION.NONE and TILE_COUNTS in self._image.entries:
                self._check_uncompressed(stated)

    def _check_entry(self, tag: int) -> None:
        """Check the type, the count and the place of a tag."""
        entry, name = self._image.entries[tag], NAMES[tag]
        if tag in self._image.twice:
            self._fail(f"has the tag {name} twice")
        if entry.type not in (TEXT_OR_BYTES if tag in BYTES else WHOLE_NUMBERS):
            self._fail(f"has the tag {name} of type {entry.type}")
        if entry.number < 1 or (tag in ONE_NUMBER and entry.number != 1):
            self._fail(f"states {entry.number} values for {name}")
        if entry.at + entry.bytes > self._file.length:
            problem = f"is truncated: {name} of {self._image.name} lies beyond its end"
            raise CorruptSlideError(self._path, problem, BROKEN_REMEDY)

    def _check_samples(self) -> None:
        """Check depth, format and subsampling of the samples."""
        for tag, known in IN_ALL.items():
            entry = self._image.entries.get(tag)
            if entry is not None and not all(value in known for value in self._file.values(entry, 16)):
                self._fail(f"states an impossible {NAMES[tag]}")

    def _check_size(self, size: Size) -> None:
        """Check the size of the image."""
        if max(size) > SIDE_MAX:
            self._fail(f"states a size of {size.width} x {size.height} px, more than a metre of glass")

    def _check_grid(self, stated: dict[int, int]) -> None:
        """Check that there is an entry for each tile or strip of each plane."""
        size = Size(stated[WIDTH], stated[LENGTH])
        planes = stated.get(SAMPLES, 1) if stated.get(PLANAR) == PLANARCONFIG.SEPARATE else 1
        if max(stated.get(DEPTH, 1), stated.get(TILE_DEPTH, 1)) > 1:
            raise UnsupportedSlideError(self._path, "is a volume, not one plane", "export one RGB plane")
        if TILE_WIDTH in stated or TILE_LENGTH in stated:
            tables, kind = (TILE_OFFSETS, TILE_COUNTS), "tiles"
            tile = Size(stated.get(TILE_WIDTH, 0), stated.get(TILE_LENGTH, 0))
            if not tile.width * tile.height:
                self._fail("states one side of its tiles only")
            if tile.width * tile.height > SEGMENT_PX_MAX:
                problem = f"is stored in pieces of {tile.width} x {tile.height} px, too large to decode at once"
                remedy = "convert it to a tiled pyramidal TIFF, for example with vips"
                raise UnsupportedSlideError(self._path, problem, remedy)
        else:
            tables, kind = (STRIP_OFFSETS, STRIP_COUNTS), "strips"
            tile = Size(size.width, min(stated.get(ROWS_PER_STRIP, size.height), size.height))
        wanted = ceil_div(size.width, tile.width) * ceil_div(size.height, tile.height) * planes
        self._check_tables(tables, wanted, kind)

    def _check_tables(self, tables: tuple[int, int], wanted: int, kind: str) -> None:
        """Check the lengths of the tables that say where the tiles or strips lie."""
        entries = self._image.entries
        if OLD_JPEG in entries:  # whose tables are in the stream
            return
        if tables[0] not in entries:
            self._fail(f"does not say where its {kind} lie")
        for tag in tables:
            if tag in entries and entries[tag].number < wanted:
                self._fail(f"has {entries[tag].number} {NAMES[tag]} for {wanted} {kind}")

    def _check_uncompressed(self, stated: dict[int, int]) -> None:
        """Check that tiles stored as they are have the bytes of their px, subsampled ones those of the first plane."""
        is_whole = stated.get(PLANAR) != PLANARCONFIG.SEPARATE and stated.get(COLOURS) != PHOTOMETRIC.YCBCR
        samples = stated.get(SAMPLES, 1) if is_whole else 1
        bits = self._image.entries.get(BITS)
        depth = min(self._file.values(bits, 16)) if bits else 1
        least = stated.get(TILE_WIDTH, 0) * stated.get(TILE_LENGTH, 0) * samples * depth // 8
        counts = self._file.values(self._image.entries[TILE_COUNTS], LOOKED_AT)
        fewest = min((count for count in counts if count), default=least)
        if fewest < least:
            self._fail(f"states no compression, and stores {fewest} bytes in a tile of {least}")

    def _number(self, tag: int) -> int:
        """Return the value of a tag that states one."""
        return self._file.values(self._image.entries[tag], 1)[0]

    def _fail(self, problem: str) -> NoReturn:
        """Raise the error for this image."""
        raise CorruptSlideError(self._path, f"is no sound TIFF: {self._image.name} {problem}", BROKEN_REMEDY)
