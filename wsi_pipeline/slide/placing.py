"""Where each level of a pyramid lies over level 0: by its size, its own resolution, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.slide.alignment import Eye, Verdict, compare, telling_places
from wsi_pipeline.slide.model import FileFacts, Level, Reader

LACKING_PX = 1.0
"""Level px that a level may lack of the slide: writers drop the last partial row and column."""

CUT_PX = 2.0
"""Level px above which what lacks was cut off: below, a factor such as 2.0005 explains it as well."""

SAME_FACTOR = 1e-3
"""Relative difference of factors that are one."""

Fullness = NDArray[np.float64]

OpenReader = Callable[[], Reader]


def with_levels(reader: Reader, open_reader: OpenReader, known: tuple[Level, ...]) -> Reader:
    """Return a sound reader with its levels as they are `known` from another opening, else as they prove to lie."""
    if [level.size for level in known] == [level.size for level in reader.facts.levels]:
        reader.facts = replace(reader.facts, levels=known)
        return reader
    pages, fullness = getattr(reader, "pages", ()), None
    if pages and len(pages[0].counts) == pages[0].rows * pages[0].columns:
        fullness = np.reshape(pages[0].counts, (pages[0].rows, pages[0].columns))
    reader, facts = place_levels(reader, open_reader, fullness)
    reader.facts = facts
    return reader


def place_levels(reader: Reader, open_reader: OpenReader, fullness: Fullness | None = None) -> tuple[Reader, FileFacts]:
    """Return a sound reader and its facts, with each level where it lies, or marked as one that is not to be read.

    A level is compared with the coarsest finer one that lies right. Where there is nothing to compare, on glass, it
    stays: it is then as white as the finer one. `fullness`: see `telling_places`.
    """
    facts = reader.facts
    if len(facts.levels) < 2:
        return reader, facts
    eye = Eye(reader, open_reader)
    places = telling_places(fullness, facts.bounds_l0, facts.levels[0].size)
    placed, warnings = [facts.levels[0]], []
    for number, level in enumerate(facts.levels[1:], start=1):
        finer = max((at for at, known in enumerate(placed) if known.used), key=lambda at: placed[at].factor_x)
        found = _placed(eye, (number, finer), level, placed, places)
        if not found.used:
            size = f"{level.size.width} x {level.size.height} px"
            warnings.append(f"level {number} of {size} does not show what level 0 shows, and is left out")
        placed.append(found)
    return eye.reader, replace(facts, levels=tuple(placed), warnings=(*facts.warnings, *warnings))


def _placed(
    eye: Eye, numbers: tuple[int, int], level: Level, placed: Sequence[Level], places: Sequence[tuple[int, int]]
) -> Level:
    """Return the level where it lies; `numbers` of it and of the finer one that it is compared with."""
    finer, full = placed[numbers[1]], placed[0]
    best: tuple[Level, Verdict] | None = None
    for candidate in _candidates(level, placed):
        verdict = compare(eye, numbers, candidate, finer, places)
        if candidate is level and not verdict.told:
            return _by_resolution(level, full)
        if candidate is level and verdict.is_aligned and _is_whole(level):
            return level
        if not _covers(candidate, full) and not (verdict.is_exact and (best is None or best[1].is_off)):
            continue
        if verdict.agreeing and verdict.is_aligned and (best is None or _rank(verdict) > _rank(best[1])):
            best = candidate, verdict
        if verdict.is_exact:
            break
    return best[0] if best and _covers(best[0], full) else replace(level, used=False)


def _by_resolution(level: Level, full: Level) -> Level:
    """Return the level by its own resolution, if its size fits no whole factor and it then covers the slide."""
    if level.stated is None or _is_whole(level):
        return level
    x, y = level.stated
    placed = replace(level, factor_x=x, factor_y=y, downsample=(x + y) / 2)
    return placed if _covers(placed, full) else level


def _is_whole(level: Level) -> bool:
    """Return whether the level's size is that of level 0 divided by a whole number: nothing padded, nothing cut."""
    return level.factor_x == level.factor_y and level.factor_x.is_integer()


def _covers(level: Level, full: Level) -> bool:
    """Return whether the level reaches as far as level 0, but for a last partial row and column: it is not cut."""
    return (
        level.factor_x * (level.size.width + LACKING_PX) > full.size.width
        and level.factor_y * (level.size.height + LACKING_PX) > full.size.height
    )


def _candidates(level: Level, placed: Sequence[Level]) -> Iterator[Level]:
    """Yield the level as it is taken to lie, then with each other factor that it may have.

    Those are its own resolution's, the one that goes on the steps so far, whole ones and powers of two. A level that is
    padded has a larger factor than its size says, one that is cut a smaller one.
    """
    yield level
    full, seen = placed[0].size, [(level.factor_x, level.factor_y)]
    ratio_x, ratio_y = full.width / level.size.width, full.height / level.size.height
    factors = [level.stated] if level.stated else []
    steps = [known.factor_x for known in placed if known.used]
    whole = [steps[-1] ** 2 / steps[-2]] if len(steps) > 1 else []
    first, last = (math.log2(max(ratio, 2)) for ratio in sorted((ratio_x, ratio_y)))
    powers = range(math.floor(first), math.ceil(last) + 3)
    whole += [2.0**power for power in powers]
    whole += [float(number) for ratio in (ratio_x, ratio_y) for number in (math.floor(ratio), math.ceil(ratio))]
    whole.sort(key=lambda number: abs(math.log(max(number, 1) / ratio_x)))
    for x, y in [*factors, *((number, number) for number in whole)]:
        known = any(abs(x / old_x - 1) < SAME_FACTOR and abs(y / old_y - 1) < SAME_FACTOR for old_x, old_y in seen)
        lacking = max(full.width / x - level.size.width, full.height / y - level.size.height)
        if not known and min(x, y) > 1 and not LACKING_PX <= lacking <= CUT_PX:
            seen.append((x, y))
            yield replace(level, factor_x=x, factor_y=y, downsample=(x + y) / 2)


def _rank(verdict: Verdict) -> tuple[float, float, float]:
    """Return what orders placings: agreement, then how little they are off, then how like the places are."""
    agreeing = verdict.agreeing / (verdict.agreeing + verdict.differing)
    return agreeing, -verdict.offset / verdict.agreeing, verdict.likeness / verdict.agreeing
