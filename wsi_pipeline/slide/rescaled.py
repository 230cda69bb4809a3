"""A slide seen at any pixel size: for networks that were trained at their own."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.slide.levels import FINER_TOLERANCE
from wsi_pipeline.slide.model import LevelPixels, Pixels
from wsi_pipeline.slide.resample import area_mean
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
        step = self._step
        edges_x = (box.x + np.arange(box.width + 1)) * self._ratio.x / step
        edges_y = (box.y + np.arange(box.height + 1)) * self._ratio.y / step
        left, top = math.floor(edges_x[0]), math.floor(edges_y[0])
        window = Box(left, top, math.ceil(edges_x[-1]) - left, math.ceil(edges_y[-1]) - top)
        pixels = self._slide.read_box(window.scaled(step), step)
        mean = area_mean(LevelPixels(pixels.rgb, pixels.valid), edges_x - left, edges_y - top)
        valid = np.ones(mean.rgb.shape[:2], bool) if mean.valid is None else mean.valid
        unreadable = math.ceil(pixels.unreadable * step**2 / (self._ratio.x * self._ratio.y))
        return Pixels(mean.rgb, valid, unreadable)
