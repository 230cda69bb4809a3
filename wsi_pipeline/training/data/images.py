"""Patches as pixels, and as fingerprints that survive another compression."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.geometry import Size

KEPT_IMAGES = 16
"""Decoded images kept per process: 50 MB at 1024 px; neighbouring samples come from one patch."""

THUMB_PX = 32


class Fingerprint(NamedTuple):
    """What is remembered of an image to recognise it: size, 64-bit difference hash, thumbnail (32, 32, 3) uint8."""

    size: Size
    bits: int
    thumb: NDArray[np.uint8]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) uint8. Raises UsageError where it cannot be read to its end or has no colour."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            rgb = np.array(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(path, f"cannot be read as an image: {error}", "replace or remove it") from error
    if mode not in {"RGB", "RGBA", "P"}:
        raise UsageError(path, f"is not an 8-bit colour image (mode {mode})", "stains are told apart by colour")
    return rgb


@lru_cache(maxsize=KEPT_IMAGES)
def kept_rgb(path: Path) -> NDArray[np.uint8]:
    """Return `read_rgb(path)` from memory where it was read a moment ago; not to be written to."""
    rgb = read_rgb(path)
    rgb.flags.writeable = False
    return rgb


def fingerprint(path: Path) -> Fingerprint:
    """Return the fingerprint of an image; reads all of it, so that a truncated file is noticed. Raises UsageError.

    Difference hash: which of neighbouring cells of a 9 x 8 grey thumbnail is brighter.
    """
    rgb = read_rgb(path)
    thumb = cv2.resize(rgb, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    bits = int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")
    return Fingerprint(Size(rgb.shape[1], rgb.shape[0]), bits, np.asarray(thumb, dtype=np.uint8))
