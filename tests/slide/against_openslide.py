"""Whole levels by both readers, and JPEG taken apart as scanners store it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import tifffile

from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import open_slide
from wsi_pipeline.slide.fast_reader import FastTiffReader

TABLES, JFIF = {0xDB, 0xC4}, {0xE0, 0xEE}
"""Markers of quantisation and Huffman tables, and of the JFIF and Adobe headers (ITU T.81, B.1)."""


def drawn(path: Path, level: int) -> np.ndarray:
    """Return a whole level as OpenSlide draws it on white, (H, W, 3)."""
    with openslide.OpenSlide(path) as oracle:
        rgba = np.asarray(oracle.read_region((0, 0), level, oracle.level_dimensions[level]))
    alpha = rgba[..., 3:] / 255  # between 0 and 1 only at the seam towards unscanned glass
    return np.where(alpha >= 0.5, np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)), 255).astype(int)


def decoded(path: Path, level: int, threads: int = 1) -> np.ndarray:
    """Return a whole level as the fast reader decodes it, (H, W, 3)."""
    with open_slide(path, reader="fast", require_mpp=False, threads=threads) as slide:
        assert slide.info.reader == "fast"
        assert isinstance(slide._reader, FastTiffReader)
        return slide._reader.read_level(level, Box(0, 0, *slide.info.level_sizes[level])).rgb


def furthest(first: np.ndarray, second: np.ndarray) -> int:
    """Return the largest difference in grey levels."""
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second).max())


def padded_tiles(image: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Yield the square tiles of an image, the last ones filled up with its edge."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), "edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield np.ascontiguousarray(padded[y : y + side, x : x + side])


def tag_as_rgb(path: Path) -> None:
    """Set the photometric tag to RGB, which tifffile itself does not do for JPEG."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(2)


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and the bytes of each segment between start of image and scan, then the rest."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield jpeg[at + 1], jpeg[at:end]
        at = end
    yield 0xDA, jpeg[at:]


def without(jpeg: bytes, markers: set[int]) -> bytes:
    """Return the JPEG less some of its segments."""
    return b"\xff\xd8" + b"".join(data for marker, data in segments(jpeg) if marker not in markers)


def without_jfif(jpeg: bytes) -> bytes:
    """Return the JPEG without anything that tells its colours."""
    return without(jpeg, JFIF)


def tables_of(jpeg: bytes) -> bytes:
    """Return the abbreviated stream of the tables alone, as the JPEGTables tag holds it."""
    return b"\xff\xd8" + b"".join(data for marker, data in segments(jpeg) if marker in TABLES) + b"\xff\xd9"
