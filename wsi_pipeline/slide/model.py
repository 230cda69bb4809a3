"""What a slide is to the rest of the pipeline: its metadata, its pixels, and the one primitive a backend supplies.

Neither label nor macro image, barcode, patient field nor raw property dump has a place here, so none can leak out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Mpp, Size

WHITE = 255
"""Grey level given to pixels that were never scanned, lie outside the slide, or cannot be read."""

OPAQUE_FROM = 128
"""Smallest alpha that counts as scanned; lower alphas only occur in the blended seam towards unscanned glass."""


@dataclass(frozen=True)
class SlideInfo:
    """What is known about a slide before a pixel is read."""

    path: Path
    reader: str
    """"fast", "openslide", "tiffslide", "image" or "zarr"."""
    vendor: str
    """Format as the reader names it, such as "aperio", "generic-tiff", "ome-tiff", "png"."""
    size_l0: Size
    """Size as viewers show it, cropped to the scanned bounds."""
    level_downsamples: tuple[float, ...]
    """Downsample of each level as the reader reports it; 4.00012 is common and never used to place a pixel."""
    level_sizes: tuple[Size, ...]
    """Size of each level in the file's full frame, level px."""
    mpp: Mpp
    """Pixel size of level 0, um/px; NaN on both axes when `mpp_source` is "missing"."""
    mpp_source: str
    bounds_origin_l0: tuple[int, int]
    """Upper-left corner (x, y) of the shown frame in the file's full frame, level-0 px."""
    full_size_l0: Size
    objective_power: float | None
    warnings: tuple[str, ...] = ()
    openslide: bool = False
    """Whether OpenSlide, and so a viewer built on it, opens the file with all its levels."""
    other_images: tuple[OtherImage, ...] = ()
    """What else the file holds."""
    levels: tuple[Level, ...] = ()
    """All levels of the file as they were placed when it was opened: what another process needs to read the same."""


@dataclass(frozen=True)
class Pixels:
    """A read region: colours, and which of them mean something."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8, RGB as stored: an embedded ICC profile is not applied. White (255) where not valid."""
    valid: NDArray[np.bool_]
    """(H, W) bool; False where never scanned, outside the slide, or unreadable (more than half of the px's area)."""
    unreadable: int = 0
    """How many px of `rgb` could not be decoded, in whole px, rounded up; not those that were never scanned."""


@dataclass(frozen=True)
class Level:
    """One level of the pyramid."""

    size: Size
    """Level px, full frame."""
    downsample: float
    """As the reader reports it."""
    factor_x: float
    """Level-0 px per level px along x: a whole number wherever the level's size allows it."""
    factor_y: float
    tile: Size
    """Native tile or strip, level px: the unit of decoding, of damage, and of block reads."""
    stated: tuple[float, float] | None = None
    """Level-0 px per level px along x and y by the level's own resolution or spacing, where it has one."""
    used: bool = True
    """Whether it shows what level 0 shows; else it is not read."""


class OtherImage(NamedTuple):
    """An image of the file that is not the slide: never more than its name and size."""

    name: str
    """"label", "macro" and "thumbnail" are called so, whatever the file says; others as the file does."""
    size: Size

    def __str__(self) -> str:
        """Return both as people read them."""
        return f"{self.name} ({self.size.width} x {self.size.height} px)"


class MppCandidate(NamedTuple):
    """A pixel size that the file states, um/px, and where it states it."""

    source: str
    x: float
    y: float
    from_tags: bool
    """Resolution tags state print resolution more often than not, so odd values are ignored without a warning."""


@dataclass(frozen=True)
class FileFacts:
    """What a backend finds when it opens a file."""

    reader: str
    vendor: str
    levels: tuple[Level, ...]
    bounds_l0: Box
    """Shown frame within the full frame, level-0 px."""
    objective_power: float | None
    mpp_candidates: tuple[MppCandidate, ...]
    openslide: bool = False
    """Whether OpenSlide opens the file with these levels."""
    warnings: tuple[str, ...] = ()
    """What people should know about how the file is read."""
    other_images: tuple[OtherImage, ...] = ()
    """What else the file holds, in its order."""


class LevelPixels(NamedTuple):
    """Pixels of one level as the file stores them."""

    rgb: NDArray[np.uint8]
    """(h, w, 3) uint8, RGB; white where never scanned."""
    valid: NDArray[np.bool_] | None
    """(h, w) bool, False where never scanned; None when all of it was scanned."""


class Reader(ABC):
    """One open file. Reads from several threads at once; what is read never depends on earlier reads."""

    facts: FileFacts

    @abstractmethod
    def read_level(self, level: int, box_lv: Box) -> LevelPixels:
        """Return the pixels of a box that lies inside the level (level px, full frame), in arrays of the caller's own.

        Raises CorruptSlideError when any of it cannot be decoded; the reader may be of no use afterwards.
        """

    def read_parts(self, level: int, box_lv: Box, parts_lv: Sequence[Box]) -> LevelPixels:  # noqa: ARG002
        """Return the pixels of a box, as `read_level`, of which only those in `parts_lv` are asked for.

        The others may be anything, so that a reader that decodes piece by piece can leave pieces out; most do not.
        """
        return self.read_level(level, box_lv)

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; may be called twice."""

    def __del__(self) -> None:
        """Close with the last reference, so that a replaced reader outlives the reads still running on it."""
        self.close()


def split_alpha(rgba: NDArray[np.uint8], *, is_premultiplied: bool = False) -> LevelPixels:
    """Composite (h, w, 4) uint8 RGBA on white, and return it with the mask of what was scanned.

    Alpha is straight, unless the colours are already multiplied by it.
    """
    alpha = rgba[..., 3]
    rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    if int(alpha.min()) == WHITE:
        return LevelPixels(rgb.view(np.uint8), None)
    weight = alpha[..., np.newaxis].astype(np.float32) / WHITE
    drawn = rgb if is_premultiplied else rgb * weight
    blended = np.rint(np.minimum(drawn + WHITE * (1 - weight), WHITE)).astype(np.uint8)
    valid = alpha >= OPAQUE_FROM
    blended[~valid] = WHITE
    return LevelPixels(blended, valid)


def paste(rgb: NDArray[np.uint8], valid: NDArray[np.bool_], pixels: LevelPixels, x: int, y: int) -> None:
    """Write `pixels` into (H, W, 3) `rgb` and (H, W) `valid` with their upper-left corner at column x, row y."""
    height, width = pixels.rgb.shape[:2]
    rgb[y : y + height, x : x + width] = pixels.rgb
    valid[y : y + height, x : x + width] = True if pixels.valid is None else pixels.valid
