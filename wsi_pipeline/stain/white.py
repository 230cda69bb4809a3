"""One white per slide: the colour of its own glass, read from a low-resolution overview.

Glass is what is smooth, nearly neutral and bright. Constants were measured on 61 brightfield images of seven
sources, whose glass lies between 170 (grey) and 252, with channels at most 7 % apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

DARKEST_GLASS = 140.0
"""Mean grey level below which nothing is taken for glass; the greyest glass measured is 171."""
SMOOTH_RANGE = 6
"""Largest 3 x 3 px range (grey levels, after a 3 x 3 mean) of smooth pixels; scanner noise on glass stays below."""
NEUTRAL_SHARE = 0.10
"""Largest (max - min) / max over the channels of glass; measured glass reaches 0.07."""
LEAST_GLASS = 0.005
"""Least share of the scanned pixels that the glass must hold to be trusted."""
LEAST_PEAK = 0.10
"""Least height of the glass peak, as a share of the highest peak of the histogram."""
PEAK_HALF_WIDTH = 8.0
"""Grey levels either side of the peak that count as glass."""
NEAR_BRIGHTEST = 0.93
"""Glass is at least this share of the 99th percentile; pale tissue without glass measured 0.90-0.929, glass 0.94-1."""
STRAIGHT_RUN = 31
"""Length, px, of an axis-parallel run (give or take a pixel) that makes the border of a pure-white area straight."""
STRAIGHT_SHARE = 0.45
"""Least straight share of their border that makes pure-white areas padding: padding and boxes masked out measured
0.62-1 at 1-8 times downsampling, glass that the scanner clipped to 255 at most 0.15."""
FALLBACK_PERCENTILE = 99.0
FALLBACK_DARKEST = 150.0
FALLBACK_NEUTRAL = 0.90
"""In the fallback every channel is at least this share of the brightest one, because glass is nearly neutral."""


BRIGHTEST_PERCENTILE = 99.5
"""Percentile of the pixels between and inside cells that stands for their brightest: gaps in tissue show glass."""
BRIGHTER_THAN_GLASS = 6.0
"""Grey levels; nothing transmits more light than glass, and noise and sharpening add at most 4 in 25 real images."""
PAINTED = 254
"""A pixel this bright in all channels may be painted over, and says nothing of the glass."""
BELOW_CLIPPED = 248.0
"""Glass clipped to 255 comes with pixels of 248-254 around it; a painted box does not."""


class WhitePoint(NamedTuple):
    """The light that passes where nothing is stained: I0 of the optical density."""

    red: float
    green: float
    blue: float
    source: Literal["glass", "fallback"]
    glass_share: float
    """Share of the scanned pixels taken for glass, 0-1; 0 for a fallback."""

    @property
    def rgb(self) -> tuple[float, float, float]:
        """Return I0 as (red, green, blue) grey levels, 1-255."""
        return self.red, self.green, self.blue


def estimate_white(rgb: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_]) -> WhitePoint:
    """Return the white of a slide from its overview `rgb` (H, W, 3) uint8 and what was scanned, `valid` (H, W).

    The white is the brightest sizeable peak of smooth, nearly neutral pixels. Where there is none (the slide is
    filled by tissue) it is the 99th percentile of each channel, kept nearly neutral, with source "fallback".
    """
    scanned = valid & ~find_padding(rgb)
    if not scanned.any():
        scanned = valid
    total = int(scanned.sum())
    if total == 0:
        return WhitePoint(255.0, 255.0, 255.0, "fallback", 0.0)
    grey = np.asarray(cv2.transform(rgb, np.full((1, 3), 1 / 3, np.float32)), dtype=np.float32)
    candidates = scanned & _smooth(rgb) & _neutral(rgb) & (grey >= DARKEST_GLASS)
    peak = _glass_peak(grey[candidates], total)
    if peak is None or peak < NEAR_BRIGHTEST * float(np.percentile(grey[scanned], FALLBACK_PERCENTILE)):
        return _fallback(rgb[scanned])
    glass = candidates & (np.abs(grey - peak) <= PEAK_HALF_WIDTH)
    red, green, blue = (float(v) for v in rgb[glass].mean(axis=0, dtype=np.float64))
    return WhitePoint(red, green, blue, "glass", float(glass.sum()) / total)


def find_padding(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where exact white (255) is filling rather than glass, (H, W): its border runs along rows and columns."""
    exact = (_darkest(rgb) == 255).astype(np.uint8)
    exact = cv2.morphologyEx(exact, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    border = cv2.morphologyEx(exact, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    length = int(border.sum())
    if length == 0:
        return np.zeros(exact.shape, dtype=bool)
    along_rows = cv2.morphologyEx(border, cv2.MORPH_OPEN, np.ones((1, STRAIGHT_RUN), np.uint8))
    along_columns = cv2.morphologyEx(border, cv2.MORPH_OPEN, np.ones((STRAIGHT_RUN, 1), np.uint8))
    straight = int(cv2.countNonZero(cv2.bitwise_or(along_rows, along_columns)))
    return np.asarray((exact > 0) & (straight >= STRAIGHT_SHARE * length))


def _darkest(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the least channel of each pixel, (H, W) uint8."""
    return np.asarray(np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]))


def _smooth(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where the green channel hardly changes within 3 x 3 px, (H, W)."""
    green = cv2.blur(np.ascontiguousarray(rgb[..., 1]), (3, 3))
    local_range = cv2.morphologyEx(green, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return np.asarray(local_range <= SMOOTH_RANGE)


def _neutral(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return where the three channels lie within 10 % of each other, (H, W)."""
    high = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return np.asarray((high - _darkest(rgb)) <= NEUTRAL_SHARE * high.astype(np.float32))


def _glass_peak(grey: npt.NDArray[np.float32], total: int) -> float | None:
    """Return the grey level of the brightest sizeable peak among the candidates' levels (N,), or None."""
    if grey.size == 0:
        return None
    counts = np.bincount(np.rint(grey).astype(np.int64), minlength=256).astype(np.float32)
    smoothed = cv2.GaussianBlur(np.pad(counts, 8)[None], (0, 0), 2.0)[0][8:-8]
    inner = np.pad(smoothed, 1)
    is_peak = (smoothed >= inner[:-2]) & (smoothed > inner[2:]) & (smoothed >= LEAST_PEAK * smoothed.max())
    for level in np.flatnonzero(is_peak)[::-1]:
        if (np.abs(grey - level) <= PEAK_HALF_WIDTH).sum() >= LEAST_GLASS * total:
            return float(level)
    return None


def _fallback(pixels: npt.NDArray[np.uint8]) -> WhitePoint:
    """Return the 99th percentile per channel of `pixels` (N, 3), bounded to a bright and nearly neutral colour."""
    high = np.percentile(pixels, FALLBACK_PERCENTILE, axis=0)
    floor = max(FALLBACK_DARKEST, FALLBACK_NEUTRAL * float(high.max()))
    red, green, blue = (float(np.clip(v, floor, 255.0)) for v in high)
    return WhitePoint(red, green, blue, "fallback", 0.0)


def correct_white(white: WhitePoint, patches: Sequence[npt.NDArray[np.uint8]]) -> WhitePoint:
    """Hold `white` against `patches` ((H, W, 3) uint8) of tissue at full resolution, and correct what cannot be.

    An overview averages cells and gaps, so a slide filled by tissue may pass for glass that is darker than its own
    gaps, and a white box painted over an image may pass for clipped glass. The brightest pixels of the patches then
    take its place, with source "fallback".
    """
    seen = [cv2.blur(patch, (5, 5)).reshape(-1, 3) for patch in patches]
    pixels = np.concatenate(seen) if seen else np.zeros((0, 3), np.uint8)
    pixels = pixels[pixels.min(axis=1) < PAINTED]
    if len(pixels) == 0:
        return white
    brightest = np.percentile(pixels, BRIGHTEST_PERCENTILE, axis=0)
    too_dark = bool((brightest > np.array(white.rgb) + BRIGHTER_THAN_GLASS).any())
    painted = min(white.rgb) >= PAINTED and float(brightest.max()) < BELOW_CLIPPED
    if not (too_dark or painted):
        return white
    red, green, blue = (float(value) for value in brightest)
    return WhitePoint(red, green, blue, "fallback", 0.0)
