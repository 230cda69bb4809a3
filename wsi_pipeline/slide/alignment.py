"""Whether a level shows, at a few places, what a finer one shows there, where its factor takes it to lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.geometry import Box, Size
from wsi_pipeline.slide.model import Level, LevelPixels, Reader
from wsi_pipeline.slide.resample import area_mean, covering

Grey = NDArray[np.float32]
"""(h, w) mean of the colours, smoothed over SMOOTH_PX."""

PATCH_PX, SMALL_PATCH_PX = 32, 16
"""Side of what is compared, level px; the small one for levels that are much coarser than the finer one."""

TELLING_SIDE = 64
"""Shorter side of the smallest level that is compared, level px: what is left of tissue in fewer is hardly like it."""

REACH_PX = 6
"""How far around its place a patch is looked for, level px."""

COARSE_STEP = 16
"""Factor between a level and the finer one from which on small patches are compared: of the finer one less is read."""

SMOOTH_PX = 3
"""Side of the square that both are averaged over: sharpening, JPEG and the way of resampling matter less."""

NEAR_PX = 1
"""Distance at which a level still lies in its place, level px: writers round, drop and centre by half a px and more."""

CONTRAST = 5.0
"""Standard deviation of a patch, grey levels, below which it is blank: JPEG leaves up to 2 on glass."""

LIKENESS = 0.25
"""Correlation from which on two patches show the same: of noise that one averages and another skips this is left."""

SLACK = 0.05
"""By how much the best correlation may lie above the one near the place."""

SHARPNESS = 0.2
"""How far the correlation has to fall off around its best for a place to tell anything."""

PLACES_ACROSS = 5
"""Places are looked for in so many columns and rows."""

AT_ONCE = 3
"""Places compared before the next are read: files of one large strip are decoded once for them, not once for each."""

ENOUGH = 3
"""Places that agree, or differ, without any that tells otherwise, after which no more are read."""

AGREEING_SHARE = 2 / 3
"""Share of the telling places that have to agree."""


class Verdict(NamedTuple):
    """How many places agree and differ, and by how much those that agree are off, level px, and how like they are."""

    agreeing: int = 0
    differing: int = 0
    offset: float = 0.0
    likeness: float = 0.0

    @property
    def told(self) -> bool:
        """Whether any place told anything: glass does not."""
        return self.agreeing + self.differing > 0

    @property
    def is_exact(self) -> bool:
        """Return whether the level lies where it is taken to lie to half a px, wherever anything tells."""
        return self.agreeing >= ENOUGH and not self.differing and not self.offset

    @property
    def is_off(self) -> bool:
        """Return whether the places that agree do so half a px off, or worse, in the mean."""
        return self.offset >= self.agreeing / 2

    @property
    def is_aligned(self) -> bool:
        """Whether the level lies where it is taken to lie, as far as anything tells."""
        return self.agreeing >= AGREEING_SHARE * (self.agreeing + self.differing)


class Eye:
    """Reads places of a slide's levels; what cannot be decoded is not seen."""

    def __init__(self, reader: Reader, open_reader: Callable[[], Reader]) -> None:
        """Look through `reader`; `open_reader` opens another one when a broken tile spoils it."""
        self.reader = reader
        self._open_reader = open_reader

    def see(self, number: int, level: Level, corner_l0: tuple[float, float], frame: Level, side: int) -> Grey | None:
        """Return `side` x `side` px of the level `frame` as the level of that `number` shows them, or None.

        The upper left px is the one at `corner_l0`. None for places beyond the level, unscanned or broken.
        """
        steps = (frame.factor_x, level.factor_x), (frame.factor_y, level.factor_y)
        across, down = (
            np.asarray((round(corner / per_frame) + np.arange(side + 1)) * (per_frame / per_level), np.float64)
            for corner, (per_frame, per_level) in zip(corner_l0, steps, strict=True)
        )
        window = covering(across, down)
        if window.intersection(Box(0, 0, *level.size)) != window:
            return None
        pixels = self._read(number, window)
        if pixels is None or (pixels.valid is not None and not pixels.valid.all()):
            return None
        shown = area_mean(pixels, across - window.x, down - window.y)
        grey = shown.rgb.mean(axis=2, dtype=np.float32)
        return np.asarray(cv2.blur(grey, (SMOOTH_PX, SMOOTH_PX)), np.float32)

    def _read(self, number: int, window: Box) -> LevelPixels | None:
        """Return the px of a window inside a level, or None where they cannot be decoded."""
        try:
            return self.reader.read_level(number, window)
        except CorruptSlideError:
            self.reader = self._open_reader()
            return None


def compare(
    eye: Eye, numbers: tuple[int, int], level: Level, finer: Level, places_l0: Sequence[tuple[int, int]]
) -> Verdict:
    """Return how a level lies over a finer one, by `numbers` in the file, at places around these level-0 px."""
    side = _patch_side(level, finer)
    if not side:
        return Verdict()
    window = side + 2 * REACH_PX
    verdict = Verdict()
    for first in range(0, len(places_l0), AT_ONCE):
        few = places_l0[first : first + AT_ONCE]
        corners = [
            (
                _corner(x, window * level.factor_x, finer.tile.width * finer.factor_x),
                _corner(y, window * level.factor_y, finer.tile.height * finer.factor_y),
            )
            for x, y in few
        ]
        shown = [eye.see(numbers[0], level, corner, level, window) for corner in corners]
        truth = [
            None if patch is None else eye.see(numbers[1], finer, corner, level, window)
            for patch, corner in zip(shown, corners, strict=True)
        ]
        for patch, whole in zip(shown, truth, strict=True):
            if patch is not None and whole is not None:
                verdict = _with_place(verdict, _inner(patch), whole)
        if max(verdict[:2]) >= ENOUGH and not min(verdict[:2]):
            break
    return verdict


def telling_places(fullness: NDArray[np.float64] | None, shown_l0: Box, size_l0: Size) -> list[tuple[int, int]]:
    """Return level-0 px, (x, y), at which levels are compared, the most telling first.

    `fullness` (rows, columns): how much the file holds in each tile of the slide, which is where its texture is; None
    where that is not known. A wrong factor shows far from the origin.
    """
    found = []
    for box in _cells(shown_l0):
        x, y, weight = box.x + box.width // 2, box.y + box.height // 2, 1.0
        if fullness is not None:
            rows, columns = fullness.shape
            step_x, step_y = size_l0.width / columns, size_l0.height / rows
            left, top = int(box.x / step_x), int(box.y / step_y)
            part = fullness[top : max(int(box.bottom / step_y), top + 1), left : max(int(box.right / step_x), left + 1)]
            row, column = np.unravel_index(int(part.argmax()), part.shape)
            x, y = int((left + column + 0.5) * step_x), int((top + row + 0.5) * step_y)
            weight = float(part.max())
        found.append((weight * (x / size_l0.width + y / size_l0.height), x, y))
    return [(x, y) for _, x, y in sorted(found, reverse=True)]


def _cells(shown_l0: Box) -> Iterator[Box]:
    """Yield the shown frame cut into PLACES_ACROSS columns and rows."""
    for row in range(PLACES_ACROSS):
        for column in range(PLACES_ACROSS):
            left, top = (shown_l0.width * column // PLACES_ACROSS, shown_l0.height * row // PLACES_ACROSS)
            right, bottom = (
                shown_l0.width * (column + 1) // PLACES_ACROSS, shown_l0.height * (row + 1) // PLACES_ACROSS,
            )  # fmt: skip
            if right > left and bottom > top:
                yield Box(shown_l0.x + left, shown_l0.y + top, right - left, bottom - top)


def _corner(centre_l0: int, side_l0: float, tile_l0: float) -> float:
    """Return where a window around a place begins, moved into the finer level's tile there if it fits."""
    start = centre_l0 // tile_l0 * tile_l0
    corner = centre_l0 - side_l0 / 2
    return min(max(corner, start), start + tile_l0 - side_l0) if side_l0 <= tile_l0 else corner


def _patch_side(level: Level, finer: Level) -> int:
    """Return the side of the patches to compare, level px; 0 for levels that are too small."""
    if min(level.size) < TELLING_SIDE:
        return 0
    coarse = max(level.factor_x / finer.factor_x, level.factor_y / finer.factor_y) > COARSE_STEP
    return SMALL_PATCH_PX if coarse else PATCH_PX


def _inner(window: Grey) -> Grey:
    """Return what is left of a window without the reach around it."""
    return window[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]


def _with_place(verdict: Verdict, patch: Grey, whole: Grey) -> Verdict:
    """Return the verdict with what one place tells: `patch` of the level, and REACH_PX more around it of the truth."""
    contrasts = [float(part.std()) for part in (patch, _inner(whole))]
    if min(contrasts) < CONTRAST:
        differs = min(contrasts) < CONTRAST / 2 and max(contrasts) >= CONTRAST
        return verdict._replace(differing=verdict.differing + differs)
    likeness = cv2.matchTemplate(whole, patch, cv2.TM_CCOEFF_NORMED)
    best = float(likeness.max())
    near = likeness[REACH_PX - NEAR_PX : REACH_PX + NEAR_PX + 1, REACH_PX - NEAR_PX : REACH_PX + NEAR_PX + 1]
    if best >= LIKENESS and best - float(likeness.min()) < SHARPNESS:
        return verdict
    if float(near.max()) < max(LIKENESS, best - SLACK):
        return verdict._replace(differing=verdict.differing + 1)
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    offset = float(np.hypot(row - NEAR_PX, column - NEAR_PX))
    like = verdict.likeness + float(near[NEAR_PX, NEAR_PX])
    return Verdict(verdict.agreeing + 1, verdict.differing, verdict.offset + offset, like)
