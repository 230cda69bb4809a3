"""Which pyramid level to read, and how its pixels map to level 0: pure functions over sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wsi_pipeline.geometry import Size
from wsi_pipeline.slide.model import Level

FINER_TOLERANCE = 1.001
"""A level counts as fine enough up to this factor over the wanted downsample: no visible loss."""


def whole_factor(size_l0: Size, size_lv: Size) -> int | None:
    """Return the whole number that `size_lv` is a rounded division of `size_l0` by, or None.

    Writers drop or pad the last partial row and column, so 4443 x 3567 over 2221 x 1783 means 2, not 2.0005. A size may
    be off by less than one level px; among several numbers that fit (tiny levels) a power of two wins.
    """
    low, high = 0.0, math.inf
    for full, reduced in zip(size_l0, size_lv, strict=True):
        low = max(low, full / (reduced + 1))
        high = min(high, full / (reduced - 1) if reduced > 1 else math.inf)
    measured = (size_l0.width / size_lv.width + size_l0.height / size_lv.height) / 2
    powers = [1 << n for n in range(math.ceil(math.log2(max(measured, 1))) + 2) if low < 1 << n < high]
    if powers:
        return min(powers, key=lambda power: abs(power - measured))
    nearest = round(measured)
    return nearest if low < nearest < high else None


def make_levels(
    sizes: Sequence[Size],
    downsamples: Sequence[float],
    tiles: Sequence[Size],
    px_um: Sequence[tuple[float, float] | None] = (),
) -> tuple[Level, ...]:
    """Return the levels with the factors that place their pixels; where no whole number fits, the ratio of sizes.

    `px_um`: how large a px of each level is along x and y by its own resolution, in any one unit; None: not stated.
    """
    levels = []
    stated = [_stated(px_um[0], own) for own in px_um] or [None] * len(sizes)
    for size, downsample, tile, factors in zip(sizes, downsamples, tiles, stated, strict=True):
        whole = whole_factor(sizes[0], size)
        factor_x = float(whole) if whole else sizes[0].width / size.width
        factor_y = float(whole) if whole else sizes[0].height / size.height
        levels.append(Level(size, downsample, factor_x, factor_y, tile, factors))
    return tuple(levels)


def _stated(px_l0: tuple[float, float] | None, own: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a level's factors by its px and those of level 0; None where writers copied the full size's resolution."""
    if px_l0 is None or own is None:
        return None
    factors = own[0] / px_l0[0], own[1] / px_l0[1]
    return factors if all(1 < factor < math.inf for factor in factors) else None


def pick_level(levels: Sequence[Level], downsample: int) -> int:
    """Return the index of the coarsest level that is still as fine as `downsample` wants."""
    fine_enough = [
        index
        for index, level in enumerate(levels)
        if level.used and max(level.factor_x, level.factor_y) <= downsample * FINER_TOLERANCE
    ]
    return max(fine_enough, key=lambda index: levels[index].factor_x, default=0)
