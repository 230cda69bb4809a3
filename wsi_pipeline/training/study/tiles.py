"""Tiles that are measured: cut from whole patches, side by side and always at the same places."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_pipeline.errors import UsageError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.training.data.patches import PatchOptions
from wsi_pipeline.training.stainer.pairs import spread

Pixels = NDArray[np.uint8]


def image_size(path: Path) -> Size:
    """Return the size of an image, px, from its head. Raises UsageError."""
    try:
        with Image.open(path) as image:
            return Size(image.width, image.height)
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(path, f"cannot be read as an image: {error}", "replace or remove it") from error


def side_in(options: PatchOptions) -> int:
    """Return the side of a tile in a patch, px of the patch."""
    return round(options.tile_px * options.mpp_out / options.mpp_in)


def tile_boxes(size: Size, side_px: int, most: int) -> list[Box]:
    """Return at most `most` squares of `side_px` in a patch of `size`, px of the patch, evenly spread.

    They lie on a grid in the patch's middle and never overlap.
    """
    columns, rows = size.width // side_px, size.height // side_px
    left, top = (size.width - columns * side_px) // 2, (size.height - rows * side_px) // 2
    return [
        Box(left + number % columns * side_px, top + number // columns * side_px, side_px, side_px)
        for number in spread(columns * rows, most)
    ]


def cut_tile(image: Pixels, box: Box, tile_px: int) -> Pixels:
    """Return the square `box` of `image` (H, W, 3), resized to (tile_px, tile_px, 3)."""
    part = np.ascontiguousarray(image[box.y : box.bottom, box.x : box.right])
    if box.width == tile_px:
        return part
    method = cv2.INTER_AREA if box.width > tile_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (tile_px, tile_px), interpolation=method), dtype=np.uint8)
