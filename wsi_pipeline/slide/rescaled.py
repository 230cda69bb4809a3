"""A slide seen at any pixel size: for networks that were trained at their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.slide.levels import FINER_TOLERANCE
from wsi_pipeline.slide.model import LevelPixels, Pixels
from wsi_pipeline.slide.resample import Edges, area_mean, covering
from wsi_pipeline.slide.slide import Slide


class RescaledSlide:
    """Reads a slide at `mpp` um/px: pixel i covers level-0 px i * ratio to (i + 1) * ratio, whatever the cut."""

    def __init__(self, slide: Slide, mpp: float) -> None:
        """Look at `slide` with square pixels of `mpp` um."""
        self._slide = slide
        self.mpp = Mpp(mpp, mpp)
        self._ratio = Mpp(mpp / slide.info.mpp.x, mpp / slide.info.mpp.y)
        # read just finer than wanted, then averaged the rest of the way; a ratio a hair below 4 is read at 4
        self._step = max(math.floor(min(self._ratio) * FINER_TOLERANCE), 1)
        width, height = slide.info.size_l0
        self.size = Size(math.ceil(width / self._ratio.x), math.ceil(height / self._ratio.y))

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return RGB (H, W, 3) of `box`, px of this view; white outside the slide and where never scanned."""
        return self.read_pixels(box).rgb

    def read_pixels(self, box: Box) -> Pixels:
        """Return the pixels of `box`, px of this view, and how many of them could not be decoded."""
        return self.read_boxes([box])[0]

    def read_boxes(self, boxes: Sequence[Box]) -> list[Pixels]:
        """Return the pixels of each box, px of this view, and how many of each could not be decoded.

        What they cover together is read from the file at once, and only the boxes are averaged. Pixels that could not
        be decoded are counted for all boxes together, with the first.
        """
        step, windows = self._step, [self._window(box) for box in boxes]
        left, top = min(window.x for window in windows), min(window.y for window in windows)
        right, bottom = max(window.right for window in windows), max(window.bottom for window in windows)
        area_l0 = Box(left, top, right - left, bottom - top).scaled(step)
        source, lost = self._slide.read_parts(area_l0, step, [window.scaled(step) for window in windows])
        unreadable = math.ceil(lost * step**2 / (self._ratio.x * self._ratio.y))
        found: list[Pixels] = []
        for run in _runs(boxes):  # averaged together, and cut apart afterwards
            whole = Box(run[0].x, run[0].y, run[-1].right - run[0].x, run[0].height)
            window = self._window(whole)
            part = np.s_[window.y - top : window.bottom - top, window.x - left : window.right - left]
            edges_x, edges_y = self._edges(whole)
            pixels = LevelPixels(source.rgb[part], None if source.valid is None else source.valid[part])
            mean = area_mean(pixels, edges_x - window.x, edges_y - window.y)
            valid = np.ones(mean.rgb.shape[:2], bool) if mean.valid is None else mean.valid
            for box in run:
                columns = slice(box.x - whole.x, box.right - whole.x)
                found.append(Pixels(mean.rgb[:, columns], valid[:, columns], 0 if found else unreadable))
        return found

    def _edges(self, box: Box) -> tuple[Edges, Edges]:
        """Return the borders of the px of `box`, in px of what is read from the file: across and down."""
        across, down = np.arange(box.x, box.right + 1), np.arange(box.y, box.bottom + 1)
        return across * self._ratio.x / self._step, down * self._ratio.y / self._step

    def _window(self, box: Box) -> Box:
        """Return the whole px, of what is read from the file, that `box` lies in."""
        return covering(*self._edges(box))


def _runs(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return the boxes in their order, neighbours that stand side by side together."""
    found: list[list[Box]] = []
    for box in boxes:
        last = found[-1][-1] if found else None
        if last is not None and (last.right, last.y, last.height) == (box.x, box.y, box.height):
            found[-1].append(box)
        else:
            found.append([box])
    return found
