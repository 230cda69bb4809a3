"""Write a phantom as a pyramidal, JPEG-tiled TIFF that slide viewers open like a scan, with its truth beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.training.phantom.options import Stain
from wsi_pipeline.training.phantom.phantom import Phantom

TILE_PX = 256
LEVEL_STEP = 4
"""Each level is this much smaller than the one before."""

SMALLEST_LEVEL_PX = 256
"""No level is added once the longer side is below this."""

QUALITY = 85

FULL_CHROMA_PX = 50_000_000
"""Slides up to this many pixels keep full colour resolution; larger ones store colour at half resolution."""

Rgb8 = NDArray[np.uint8]


def write_slide(phantom: Phantom, path: str | Path, stain: Stain | None = None, quality: int = QUALITY) -> Path:
    """Write the slide to `path` and the truth as .json of the same name; returns `path`.

    Square pixels give an Aperio-style .svs. Aperio knows one pixel size only, so other pixels give a plain tiled TIFF
    (name it .tif) whose resolution tags hold both. Level 0 is painted tile by tile; only smaller levels are in memory.
    """
    path = Path(path)
    options = phantom.options
    size = Size(options.width, options.height)
    small = np.empty((ceil_div(size.height, LEVEL_STEP), ceil_div(size.width, LEVEL_STEP), 3), dtype=np.uint8)
    page = _Page(phantom, stain, quality)
    with tifffile.TiffWriter(path, bigtiff=size.width * size.height > 2**31) as tiff:
        page.write(tiff, _painted(phantom, stain, small), size, reduced=False)
        level = small
        while True:
            shape = Size(level.shape[1], level.shape[0])
            page.write(tiff, _tiles_of(level), shape, reduced=True)
            if max(shape) <= SMALLEST_LEVEL_PX * LEVEL_STEP:
                break
            level = _shrunk(level)
    truth = json.dumps(phantom.truth(stain), separators=(",", ":"), sort_keys=True)
    path.with_suffix(".json").write_text(truth.replace('],"', '],\n"') + "\n", encoding="utf-8")
    return path


class _Page:
    """How every level of one slide is stored."""

    def __init__(self, phantom: Phantom, stain: Stain | None, quality: int) -> None:
        """Remember what the descriptions and the compression need."""
        self._options, self._stain, self._quality = phantom.options, stain or phantom.options.stain, quality
        self._square = abs(self._options.mpp_x / self._options.mpp_y - 1) < 1e-6
        large = self._options.width * self._options.height > FULL_CHROMA_PX
        self._subsampling = (2, 2) if large else (1, 1)

    def write(self, tiff: tifffile.TiffWriter, tiles: Iterator[Rgb8], size: Size, reduced: bool) -> None:
        """Append one level from its tiles in row order."""
        shrink = (self._options.width / size.width, self._options.height / size.height)
        tiff.write(
            tiles,
            shape=(size.height, size.width, 3),
            dtype=np.uint8,
            tile=(TILE_PX, TILE_PX),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": self._quality},
            subsampling=self._subsampling,
            subfiletype=1 if reduced and not self._square else 0,
            description=self._description(size, reduced),
            resolution=(1e4 / (self._options.mpp_x * shrink[0]), 1e4 / (self._options.mpp_y * shrink[1])),
            resolutionunit="CENTIMETER",
            metadata=None,
            software=False,
            datetime=None,
        )

    def _description(self, size: Size, reduced: bool) -> str:
        """Return the description; OpenSlide and QuPath read the pixel size of square pixels from it."""
        options = self._options
        kind = f"Phantom = {options.name} {self._stain} seed {options.seed}"
        if not self._square:
            return f"synthetic phantom of wsi-her2 (no patient)|{kind}"
        head = "Aperio Image Library, synthetic phantom of wsi-her2 (no patient)\r\n"
        if reduced:
            return f"{head}{options.width}x{options.height} -> {size.width}x{size.height} JPEG/RGB"
        power = round(10 / options.mpp_x)
        place = f"{options.width}x{options.height} ({TILE_PX}x{TILE_PX}) JPEG/RGB Q={self._quality}"
        return f"{head}{place}|AppMag = {power}|MPP = {options.mpp_x:.6g}|{kind}"


def _painted(phantom: Phantom, stain: Stain | None, small: Rgb8) -> Iterator[Rgb8]:
    """Yield the level-0 tiles, filling `small` with the level above on the way."""
    width, height = phantom.options.width, phantom.options.height
    for y in range(0, height, TILE_PX):
        for x in range(0, width, TILE_PX):
            tile = phantom.render_block(Box(x, y, TILE_PX, TILE_PX), stain)
            part = _shrunk(tile[: height - y, : width - x])
            small[y // LEVEL_STEP :, x // LEVEL_STEP :][: part.shape[0], : part.shape[1]] = part
            yield tile


def _tiles_of(level: Rgb8) -> Iterator[Rgb8]:
    """Yield full tiles of an image in memory; beyond its edge the last pixel is repeated."""
    rows, columns = ceil_div(level.shape[0], TILE_PX), ceil_div(level.shape[1], TILE_PX)
    bottom, right = rows * TILE_PX - level.shape[0], columns * TILE_PX - level.shape[1]
    full: Rgb8 = np.asarray(cv2.copyMakeBorder(level, 0, bottom, 0, right, cv2.BORDER_REPLICATE), dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            yield full[row * TILE_PX :, column * TILE_PX :][:TILE_PX, :TILE_PX]


def _shrunk(image: Rgb8) -> Rgb8:
    """Return the image reduced by LEVEL_STEP by area means; the odd rest is filled by repeating the edge."""
    bottom, right = -image.shape[0] % LEVEL_STEP, -image.shape[1] % LEVEL_STEP
    full = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (full.shape[1] // LEVEL_STEP, full.shape[0] // LEVEL_STEP)
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
