"""Where tissue ends: the coarse mask drawn in to the glass that it runs over.

The mask's windows of tens of um say surely that there is tissue, and not where it ends. Averaged to 8 um/px, glass is
even to a hundredth of what pale tissue absorbs, so once the level of the glass nearby is known, each pixel at the rim
is told from it by density alone.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.tissue.colour import blur, disc

Mask = npt.NDArray[np.bool_]
Density = npt.NDArray[np.float32]

LEAST_WEIGHT = 0.05
"""Share of glass in the window below which its level fades to that of the whole slide, which is 0 OD."""

GLASS_RANGE = np.float32(0.004)
"""OD over the least dense place nearby up to which even px are glass: grain, and a lamp's shade within the reach."""

DENSEST_GLASS = 0.03
"""OD; outside the mask and denser than this is dirt, dust or ink, and no measure of the glass."""


class OutlineOptions(BaseModel):
    """Limits and sizes of the outline, measured at 8 um/px on phantoms and on the glass around real tissue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    density: float = Field(default=0.009, description="OD over the glass nearby from which a pixel is no glass")
    share_of_tissue: float = Field(default=0.35, description="share of the density of the tissue nearby that suffices")
    evenness: float = Field(default=0.006, description="OD, range in 3 x 3 px up to which it is even: smears, glass")
    shade_um: float = Field(default=300.0, description="um, Gaussian sigma over which glass and tissue are averaged")
    reach_um: float = Field(default=50.0, description="um beyond the coarse mask in which its pale rim is sought")
    depth_um: float = Field(default=250.0, description="um inside the coarse mask up to which glass is cut out of it")
    gap_um: float = Field(default=25.0, description="um, radius: narrower gaps at the rim (fat, clefts) are tissue")
    speck_um2: float = Field(default=2000.0, description="um2; a smaller spot by itself on glass is dust")


def draw_in(
    coarse: Mask, allowed: Mask, density: Density, um_per_px: float, options: OutlineOptions
) -> npt.NDArray[np.bool_]:
    """Return the tissue (H, W) in and about the mask `coarse`, without the glass that can be reached from outside it.

    `allowed` (H, W): where tissue may be at all. `density` (H, W): mean OD, 0 at the slide's glass. Holes stay as
    `coarse` has them, but for the glass around them. Where what lies outside is no glass either, `coarse` stays.
    """
    if not coarse.any():
        return coarse
    around = _dilated(coarse, options.reach_um / um_per_px) & allowed
    even = _even(density, options.evenness)
    over, limit = _over_glass(coarse, allowed & even, density, um_per_px, options)
    specks = _dilated(_specks(over >= limit, um_per_px, options), 1)
    over[specks] = 0
    even |= specks
    solid = np.where(coarse, ~even | (over >= limit), ~even & (over >= limit) & around)  # a smear is even, tissue not
    inside = cv2.distanceTransform(coarse.astype(np.uint8), cv2.DIST_L2, 3)
    solid = (_closed(solid, options.gap_um / um_per_px) & around) | (coarse & (inside > options.depth_um / um_per_px))
    _, labels = cv2.connectedComponents((~solid).astype(np.uint8), connectivity=4)
    outside = np.zeros(int(labels.max()) + 1, dtype=bool)
    outside[labels[~coarse & ~solid]] = True
    drawn = np.asarray(cv2.morphologyEx((~outside[labels] | solid).astype(np.uint8), cv2.MORPH_OPEN, disc(1)) > 0)
    return drawn & allowed


def _over_glass(
    coarse: Mask, even: Mask, density: Density, um_per_px: float, options: OutlineOptions
) -> tuple[Density, Density]:
    """Return how far `density` lies over the glass nearby, and from where on that is no glass, both (H, W) OD.

    Glass is what is `even` and hardly denser than the least dense place nearby, also where `coarse` runs over it: a
    lamp shades glass by as much as the palest tissue absorbs.
    """
    sigma = options.shade_um / um_per_px
    tissue = _averaged(density, coarse, sigma)
    limit = np.clip(np.float32(options.share_of_tissue) * tissue, np.float32(0.002), np.float32(options.density))
    glass = even & (density <= np.minimum(_least(density, even, sigma) + GLASS_RANGE, DENSEST_GLASS))
    return density - np.minimum(_averaged(density, glass, sigma), limit), limit


def _least(density: Density, where: Mask, reach_px: float) -> Density:
    """Return the least local mean of `density` (H, W) over the px `where` within `reach_px`, found at a quarter."""
    height, width = density.shape
    size = (-(-width // 4), -(-height // 4))
    weight = cv2.resize(where.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(density * where, size, interpolation=cv2.INTER_AREA)
    mean = np.where(weight >= 0.5, total / np.maximum(weight, np.float32(0.5)), np.float32(1)).astype(np.float32)
    least = cv2.erode(mean, disc(reach_px / 4))
    return np.asarray(cv2.resize(least, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _averaged(density: Density, where: Mask, sigma_px: float) -> Density:
    """Return the mean of `density` (H, W) over the px `where` nearby, fading to 0 far from them."""
    weight = _smoothed(where.astype(np.float32), sigma_px) + np.float32(LEAST_WEIGHT)
    return np.asarray(_smoothed(density * where, sigma_px) / weight, dtype=np.float32)


def _even(over: Density, evenness: float) -> Mask:
    """Return the px (H, W) that lie in some 3 x 3 px of even density."""
    square = np.ones((3, 3), np.uint8)
    even = cv2.morphologyEx(over, cv2.MORPH_GRADIENT, square) <= evenness
    return np.asarray(cv2.dilate(even.astype(np.uint8), square) > 0)


def _smoothed(image: Density, sigma_px: float) -> Density:
    """Return `image` (H, W) smoothed by a wide Gaussian, at a quarter of its resolution and size."""
    height, width = image.shape
    small = cv2.resize(image, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    smooth = blur(np.asarray(small, dtype=np.float32), sigma_px / 4)
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _specks(dark: Mask, um_per_px: float, options: OutlineOptions) -> Mask:
    """Return the small spots of `dark` (H, W) with more glass than dark pixels around them."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] * um_per_px**2 < options.speck_um2
    small[0] = False
    side = 2 * max(round(2 * options.gap_um / um_per_px), 1) + 1
    crowded = cv2.blur(dark.astype(np.float32), (side, side)) >= 0.5
    return np.asarray(small[labels] & ~crowded)


def _dilated(mask: Mask, radius_px: float) -> Mask:
    """Return `mask` (H, W) grown by a disc."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), disc(radius_px)) > 0)


def _closed(mask: Mask, radius_px: float) -> Mask:
    """Return `mask` (H, W) with gaps narrower than a disc closed, also those that the picture's edge cuts."""
    margin = disc(radius_px).shape[0]
    edged = cv2.copyMakeBorder(mask.astype(np.uint8), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = cv2.morphologyEx(edged, cv2.MORPH_CLOSE, disc(radius_px))
    return np.asarray(closed[margin:-margin, margin:-margin] > 0)
