"""Colours for maps, each on a fixed scale that is the same for every tile and every slide, and their legends.

A map is never stretched to its own range: a tile without stain would then show as much "high" as a strong one.
Sequential colours are viridis (DAB) and cividis (entropy), reversed so that more is darker, as in a stain; perceptually
ordered and made for colour-blind readers. Both are matplotlib's, CC0 1.0 (public domain), taken from OpenCV's copy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import UsageError

Rgb = NDArray[np.uint8]
"""(..., 3) uint8 RGB."""

LEVELS_PER_OD = 100
"""Grey levels per OD in the DAB density map."""

NOT_MEASURED = 0
"""Grey level of a density map where nothing was measured: glass, or tissue left out. Tissue without DAB is 1."""

MOST_DAB_OD = 1.5
"""Density from which on the colour stays the same: one 8-bit grey level is worth 0.05 OD and more from there on."""

MOST_ENTROPY_BITS = 2.0
"""Entropy of four equally likely classes."""

WHITE = 255
"""Where a sequential map has no value: glass."""

NO_VALUE_GREY = 200
"""Where a map of margins has no value: white means a margin's zero there."""

BLUE_LAB, RED_LAB = (40.0, 5.0, -50.0), (40.0, 58.0, 38.0)
"""Ends of the diverging scale in CIELAB (D65), equally dark; blue against red stays distinct for all common
colour-vision deficiencies. The way to white in the middle is straight in CIELAB."""


class ColourScale(NamedTuple):
    """Values from `low` to `high` to colours: `table` (256, 3) uint8 RGB, `title` with the unit for the legend.

    `empty`: grey level where there is no value. `ticks`: how many numbers a legend shows, both ends among them.
    `open_low`, `open_high`: values beyond that end occur, and get its colour.
    """

    title: str
    low: float
    high: float
    table: Rgb
    empty: int
    ticks: int
    open_low: bool
    open_high: bool

    def colours(self, values: NDArray[np.floating]) -> Rgb:
        """Return `values` (...) as (..., 3) RGB; NaN, where there is no value, as the grey level `empty`."""
        known = ~np.isnan(values)
        share = (np.where(known, values, self.low) - self.low) / (self.high - self.low)
        index = np.clip(np.rint(share * 255), 0, 255).astype(np.uint8)
        return np.where(known[..., None], self.table[index], np.uint8(self.empty))


def dab_scale() -> ColourScale:
    """Return the scale of DAB density: 0 OD yellow to 1.5 OD and more dark violet."""
    table = _opencv_map(cv2.COLORMAP_VIRIDIS)
    return ColourScale("DAB density, OD", 0.0, MOST_DAB_OD, table, WHITE, 4, open_low=False, open_high=True)


def entropy_scale() -> ColourScale:
    """Return the scale of entropy: 0 bits yellow, 2 bits (all four classes equally likely) dark blue."""
    table = _opencv_map(cv2.COLORMAP_CIVIDIS)
    return ColourScale("Entropy, bits", 0.0, MOST_ENTROPY_BITS, table, WHITE, 5, open_low=False, open_high=False)


def margin_scale(limit: float, title: str = "Margin, logits") -> ColourScale:
    """Return the scale of signed margins: -`limit` and less blue, 0 white, `limit` and more red. Raises UsageError."""
    if not (math.isfinite(limit) and limit > 0):
        raise UsageError("limit", f"{limit!r} logits is not a range", "give a positive number, one for the whole slide")
    return ColourScale(title, -limit, limit, _diverging_table(), NO_VALUE_GREY, 5, open_low=True, open_high=True)


def dab_table() -> Rgb:
    """Return the colour of each grey level of a density map, (256, 3) uint8 RGB; level 0 (not measured) is white."""
    levels = np.arange(256, dtype=np.float64)
    return dab_scale().colours(np.where(levels == NOT_MEASURED, np.nan, levels / LEVELS_PER_OD))


def colour_density(levels: NDArray[np.uint8]) -> Rgb:
    """Return DAB density `levels` (H, W), 100 per OD, as (H, W, 3) RGB on a fixed scale; level 0 is white.

    Level 0 means not measured: tissue without any DAB must be written as 1, or it would look like glass.
    """
    return dab_table()[levels]


def diverging(values: NDArray[np.floating], limit: float) -> Rgb:
    """Return signed `values` (H, W), logits, as (H, W, 3) RGB: blue - white - red from -`limit` to `limit`; NaN grey.

    `limit` belongs to the slide (or is a constant), never to one tile. Raises UsageError for one that is not positive.
    """
    return margin_scale(limit).colours(values)


def entropy_colours(bits: NDArray[np.floating]) -> Rgb:
    """Return entropies (H, W), bits, as (H, W, 3) RGB; NaN, where no tile was classified, white."""
    return entropy_scale().colours(bits)


def _opencv_map(number: int) -> Rgb:
    """Return one of OpenCV's colour maps reversed, (256, 3) RGB, so that more is darker."""
    ramp = np.arange(255, -1, -1, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, number)[:, 0, ::-1])


def _diverging_table() -> Rgb:
    """Return (256, 3) RGB from blue through white to red. There is no middle entry: zero is 127 or 128, both white."""
    share = np.abs(np.linspace(-1, 1, 256)) - 1 / 255
    white = np.array([100.0, 0.0, 0.0])
    ends = np.where(np.arange(256)[:, None] < 128, BLUE_LAB, RED_LAB)
    lab = white + np.maximum(share, 0)[:, None] * 255 / 254 * (ends - white)
    rgb = cv2.cvtColor(lab.astype(np.float32)[None], cv2.COLOR_Lab2RGB)[0]
    return np.asarray(np.rint(np.clip(rgb, 0, 1) * 255), dtype=np.uint8)
