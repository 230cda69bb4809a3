"""One page of a TIFF: where its tiles or strips lie in the file, and how one of them becomes pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, TIFF

from wsi_pipeline.errors import CorruptSlideError, UnsupportedSlideError
from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.slide.border import BROKEN_REMEDY, library_errors
from wsi_pipeline.slide.declared import check_jpeg, check_jpeg2000, decode_into
from wsi_pipeline.slide.jpeg_end import is_whole, jpeg_end
from wsi_pipeline.slide.samples import COLOURS, CONVERT, is_planar, is_rgb, shown_samples
from wsi_pipeline.slide.tiff_structure import SEGMENT_PX_MAX

J2K_COMPONENTS_AT = 42
"""Offset of the first component's depth and sampling steps in a JPEG 2000 codestream (ISO 15444-1, A.5.1)."""

VIRTUAL_TILE = Size(256, 256)
"""Unit of reading in uncompressed contiguous files, which are mapped into memory instead of decoded."""

JPEGS = frozenset({COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.ALT_JPEG, COMPRESSION.JPEG_LOSSY})
APERIO_JPEG_2000 = frozenset({COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.APERIO_JP2000_RGB})
"""33003 and 33005: bare codestreams in which the compression alone, not the photometric tag, tells YCbCr from RGB."""

JPEGS_2000 = APERIO_JPEG_2000 | {COMPRESSION.JPEG2000, COMPRESSION.JPEG_2000_LOSSY}

BY_DECLARED_SIZE = frozenset({
    COMPRESSION.PNG, COMPRESSION.WEBP, COMPRESSION.WEBP_DEPRECATED, COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG,
    COMPRESSION.JPEGXR, COMPRESSION.JPEGXR_NDPI, COMPRESSION.LERC,
})  # fmt: skip
"""Streams whose decoders ask for the memory of the size that the stream declares, not of the tile."""

Decode = Callable[[bytes, int], NDArray[np.uint8]]
"""From the bytes of a tile and its entry in the page's tables to its px, (h, w, samples of the plane)."""


class TiffPage:
    """The tiles or strips of one page. Holds no file, so that readers of one slide share it."""

    def __init__(self, path: Path, page: Any) -> None:
        """Copy what decoding needs from a tifffile page, whose TiffFile may be closed afterwards.

        Raises UnsupportedSlideError for colours that no decoder here knows and tiles too large to hold.
        """
        if not is_rgb(page):
            raise UnsupportedSlideError(path, "has a level that is not 8-bit RGB", "export it as 8-bit RGB")
        self._path = path
        self.is_tiled = bool(page.is_tiled)
        self.size = Size(page.imagewidth, page.imagelength)
        self._shown = shown_samples(page)
        self.samples = len(self._shown.kept)
        """How many are shown: 3, or 4 with alpha."""
        self.is_premultiplied = self._shown.is_premultiplied
        self._offsets, self._counts = tuple(page.dataoffsets), tuple(page.databytecounts)
        self._mapped: NDArray[np.uint8] | None = None
        if page.is_tiled:
            self.tile = Size(page.tilewidth, page.tilelength)
        elif page.is_memmappable:
            self.tile, self._mapped = VIRTUAL_TILE, _mapped(path, page)
        else:
            self.tile = Size(page.imagewidth, min(page.rowsperstrip, page.imagelength))
        if self.tile.width * self.tile.height * max(page.samplesperpixel, 4) > 4 * SEGMENT_PX_MAX:
            problem = f"is stored in pieces of {self.tile.width} x {self.tile.height} px, too large to decode at once"
            raise UnsupportedSlideError(path, problem, "convert it to a tiled pyramidal TIFF, for example with vips")
        self.columns = ceil_div(self.size.width, self.tile.width)
        self.rows = ceil_div(self.size.height, self.tile.height)
        total = self.columns * self.rows
        self._starts = tuple(plane * total for plane in self._shown.kept) if is_planar(page) else (0,)
        by_plane = [self._counts[start : start + total] for start in self._starts if self._mapped is None]
        self.counts = tuple(sum(counts) for counts in zip(*by_plane, strict=True))
        """Bytes of each tile in all planes that are read, row by row; none where the page is mapped."""
        self.holes = frozenset(index for index, counts in enumerate(zip(*by_plane, strict=True)) if not all(counts))
        """Indices of the tiles that were never written, or not in all colours."""
        self._is_jpeg = page.compression in JPEGS
        self._check = _check_of(page)
        self._decode = _decoder(path, page)
        self._decode_plainly = _by_tifffile(page)

    def box(self, index: int) -> Box:
        """Return where a tile lies, level px; tiles at the edges hang over."""
        row, column = divmod(index, self.columns)
        return Box(column * self.tile.width, row * self.tile.height, *self.tile)

    def touched(self, box_lv: Box) -> Iterator[int]:
        """Yield the indices of the tiles that a box inside the level touches, row by row."""
        for row in range(box_lv.y // self.tile.height, ceil_div(box_lv.bottom, self.tile.height)):
            for column in range(box_lv.x // self.tile.width, ceil_div(box_lv.right, self.tile.width)):
                yield row * self.columns + column

    def touched_by(self, parts_lv: Sequence[Box], box_lv: Box) -> list[int]:
        """Return the indices of the tiles that any of the parts of a box inside the level touches, row by row."""
        inside = (part_lv.intersection(box_lv) for part_lv in parts_lv)
        return sorted({index for part_lv in inside if part_lv.area for index in self.touched(part_lv)})

    def pieces(self, index: int) -> list[tuple[int, int]]:
        """Return where in the file a tile lies, as (offset, bytes): one piece, or one for each colour of its own."""
        return [(self._offsets[start + index], self._counts[start + index]) for start in self._starts]

    def mapped(self, box_lv: Box) -> NDArray[np.uint8] | None:
        """Return the (h, w, samples) px of a box inside a page that needs no decoding, None where it does."""
        if self._mapped is None:
            return None
        pixels = self._mapped[box_lv.y : box_lv.bottom, box_lv.x : box_lv.right]
        return pixels[..., list(self._shown.kept)]  # a copy

    def decode(self, data: Sequence[bytes], index: int) -> NDArray[np.uint8]:
        """Return the (h, w, samples) px of one tile, at least as far as the level reaches, from its pieces.

        Raises CorruptSlideError for damaged or short data.
        """
        planes = [self._plane(piece, start + index, index) for piece, start in zip(data, self._starts, strict=True)]
        if len(planes) > 1:
            return np.dstack(planes)
        return planes[0] if planes[0].shape[2] == self.samples else planes[0][..., list(self._shown.kept)]

    def decode_plainly(self, data: Sequence[bytes], index: int) -> NDArray[np.uint8]:
        """Return the (h, w, samples) px of one tile as tifffile alone decodes them; raises what it raises."""
        entries = zip(data, self._starts, strict=True)
        planes = np.dstack([self._decode_plainly(piece, start + index) for piece, start in entries])
        return planes if len(data) > 1 else planes[..., list(self._shown.kept)]

    def _plane(self, data: bytes, entry: int, index: int) -> NDArray[np.uint8]:
        """Return the (h, w, samples) px of one piece of a tile. Raises CorruptSlideError."""
        tile_lv = self.box(index)
        place = f"at {tile_lv.x}, {tile_lv.y}"
        if len(data) < self._counts[entry]:
            raise CorruptSlideError(self._path, f"ends within the tile {place}", BROKEN_REMEDY)
        # The decoder fills up streams that end early without a word; OpenSlide calls them broken, and so do we.
        end = jpeg_end(data) if self._is_jpeg else len(data)
        early = f"has a JPEG tile that ends early {place}"
        if not end:
            raise CorruptSlideError(self._path, early, BROKEN_REMEDY)
        with library_errors(self._path, f"has a broken tile {place}"):
            if self._check is not None:
                self._check(data[:end], self.tile)
            pixels = self._decode(data, entry)
            is_early = self._is_jpeg and not is_whole(data, end, lambda more: self._decode(more, entry), pixels)
        if is_early:
            raise CorruptSlideError(self._path, early, BROKEN_REMEDY)
        inside = tile_lv.intersection(Box(0, 0, *self.size))
        least = np.array([inside.height, inside.width, 1 if len(self._starts) > 1 else max(self._shown.kept) + 1])
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or (pixels.shape < least).any():
            raise CorruptSlideError(self._path, f"has a tile of the wrong size {place}", BROKEN_REMEDY)
        return pixels


def _mapped(path: Path, page: Any) -> NDArray[np.uint8]:
    """Return the (h, w, samples) px of an uncompressed contiguous page, which stay in the file."""
    size, samples = (page.imagelength, page.imagewidth), page.samplesperpixel
    shape = (samples, *size) if is_planar(page) else (*size, samples)
    pixels = np.memmap(path, np.uint8, "r", page.dataoffsets[0], shape)
    return pixels.transpose(1, 2, 0) if is_planar(page) else pixels


def _check_of(page: Any) -> Callable[[bytes, Size], None] | None:
    """Return what raises ValueError for a tile that declares more px than its place has, where the codec needs that."""
    if page.compression in JPEGS_2000:
        return check_jpeg2000
    if page.compression not in JPEGS:
        return None
    header = page.jpegheader or b""  # of old files, which state the size there
    return check_jpeg if not header else lambda data, tile: check_jpeg(header + data, tile)


def _decoder(path: Path, page: Any) -> Decode:
    """Return what decodes the page's tiles.

    JPEG tagged RGB is taken for RGB unless it is JFIF, which is YCbCr by definition: Bio-Formats writes such files.
    Raises UnsupportedSlideError for YCbCr that nothing here turns into RGB: outside JPEG only OpenSlide does.
    """
    if page.compression in APERIO_JPEG_2000 and not is_planar(page):
        return _aperio_ycbcr if page.compression == COMPRESSION.APERIO_JP2000_YCBC else _aperio_rgb
    if page.photometric == PHOTOMETRIC.YCBCR:
        if page.compression not in JPEGS:
            problem = f"holds YCbCr colours in {COMPRESSION(page.compression).name}"
            raise UnsupportedSlideError(path, problem, "convert it to RGB or JPEG")
        if is_planar(page) or page.samplesperpixel != COLOURS:
            raise UnsupportedSlideError(path, "holds YCbCr colours in planes or with more samples", CONVERT)
    return _bounded(page) if page.compression in BY_DECLARED_SIZE else _by_tifffile(page)


def _by_tifffile(page: Any) -> Decode:
    """Return what decodes tiles as tifffile does."""
    is_jpeg = page.compression in JPEGS
    if is_jpeg and page.samplesperpixel > COLOURS and not page.extrasamples and not is_planar(page):
        tables, header = page.jpegtables, page.jpegheader  # tifffile does so where the further sample is declared
        return lambda data, _entry: np.asarray(imagecodecs.jpeg_decode(data, tables=tables, header=header))
    options = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if is_jpeg else {}
    decode = page.decode
    return lambda data, entry: decode(data, entry, **options)[0][0]  # (1, h, w, samples) -> (h, w, samples)


def _bounded(page: Any) -> Decode:
    """Return what decodes tiles or strips of a codec that goes by the size that each declares."""
    codec, samples = TIFF.DECOMPRESSORS[page.compression], 1 if is_planar(page) else page.samplesperpixel
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    rests = (
        page.imagelength % height or height,
        page.imagewidth % width or width,
    )  # of those at the lower and right edge
    shapes = sorted({(rows, columns, samples) for rows in (rests[0], height) for columns in (rests[1], width)})
    return lambda data, _entry: np.atleast_3d(decode_into(codec, data, shapes))


def _aperio_rgb(data: bytes, _entry: int) -> NDArray[np.uint8]:
    """Return the (h, w, 3) px of an RGB codestream."""
    pixels: NDArray[np.uint8] = imagecodecs.jpeg2k_decode(data)
    return pixels


def _aperio_ycbcr(data: bytes, _entry: int) -> NDArray[np.uint8]:
    """Return the (h, w, 3) px of a YCbCr codestream as RGB.

    Chroma of half the width (4:2:2, what the scanners wrote) is known for YCbCr and converted by the codec library;
    chroma of full width is handed out as it is.
    """
    pixels = imagecodecs.jpeg2k_decode(data)
    steps = data[J2K_COMPONENTS_AT + 4 : J2K_COMPONENTS_AT + 6]  # of the second component along x and y
    if steps != b"\1\1":
        return np.asarray(pixels, np.uint8)
    return np.asarray(cv2.cvtColor(pixels[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB), np.uint8)
