"""Sizes, boxes and pixel sizes as plain tuples, with the names of their frames.

Frames used throughout: `_l0` level-0 pixels of the slide as a viewer shows it (origin at the upper left of the scanned
bounds), `_an` analysis pixels (level-0 px divided by the analysis grid's ratio), `_map` heatmap pixels, `_um`
micrometres. x is the column, y the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Size(NamedTuple):
    """Width and height in pixels of the frame that the variable's suffix names."""

    width: int
    height: int


class Mpp(NamedTuple):
    """Pixel size in micrometres per pixel, along x and y."""

    x: float
    y: float

    def scaled(self, downsample: float) -> Mpp:
        """Return the pixel size after downsampling both axes by `downsample`."""
        return Mpp(self.x * downsample, self.y * downsample)


class Box(NamedTuple):
    """An axis-aligned box: integer upper-left corner and size, in pixels of the frame its name's suffix says."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Exclusive right edge, px."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Exclusive lower edge, px."""
        return self.y + self.height

    @property
    def size(self) -> Size:
        """Width and height, px."""
        return Size(self.width, self.height)

    @property
    def area(self) -> int:
        """Area in px2; zero when the box is empty."""
        return max(self.width, 0) * max(self.height, 0)

    def padded(self, margin: int) -> Box:
        """Return the box grown by `margin` px on each side."""
        return Box(self.x - margin, self.y - margin, self.width + 2 * margin, self.height + 2 * margin)

    def intersection(self, other: Box) -> Box:
        """Return the common part; its width or height is 0 where the boxes do not meet."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = max(min(self.right, other.right) - x, 0)
        height = max(min(self.bottom, other.bottom) - y, 0)
        return Box(x, y, width, height)

    def slices_in(self, frame: Box) -> tuple[slice, slice]:
        """Return the rows and columns that the box has in an array that covers `frame`, inside which it lies."""
        x, y = self.x - frame.x, self.y - frame.y
        return slice(y, y + self.height), slice(x, x + self.width)

    def scaled(self, factor: int) -> Box:
        """Return the box in a frame `factor` times finer (an integer, so nothing is rounded)."""
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor)


def ceil_div(numerator: int, denominator: int) -> int:
    """Return the smallest integer that is at least numerator / denominator."""
    return -(-numerator // denominator)


def cut(size: Size, step: int) -> Iterator[Box]:
    """Yield boxes of `step` px that cover `size` once, row by row; those at the right and lower edge are cropped."""
    for y in range(0, size.height, step):
        for x in range(0, size.width, step):
            yield Box(x, y, min(step, size.width - x), min(step, size.height - y))
