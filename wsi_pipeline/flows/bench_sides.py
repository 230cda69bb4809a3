"""Two sides of a comparison, measured in turns."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from pydantic import BaseModel, ConfigDict, Field


class SideRecord(BaseModel):
    """How quick the product and somebody else are at the same work on the same slide, medians of the repeats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    what: str = Field(description="what was measured, on which tiles")
    ours_tiles_per_s: float
    theirs_tiles_per_s: float
    ratio: float = Field(description="median of the repeats' ratios, ours over theirs")
    ours_tiles: int
    theirs_tiles: int
    ours_seconds: tuple[float, ...]
    theirs_seconds: tuple[float, ...]
    ours_tiles_per_s_without_start: float | None = None
    theirs_tiles_per_s_without_start: float | None = None
    theirs_versions: dict[str, str] = Field(default_factory=dict)


def in_turns(
    repeats: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the seconds that both sides say they took, each `repeats` times, one after the other."""
    found = [(ours(), theirs()) for _ in range(repeats)]
    return tuple(one for one, _ in found), tuple(other for _, other in found)


def rate(tiles: int, seconds: tuple[float, ...]) -> float:
    """Return the median of tiles per second."""
    return median(tiles / each for each in seconds)


def ratio(ours: tuple[int, tuple[float, ...]], theirs: tuple[int, tuple[float, ...]]) -> float:
    """Return the median of the turns' ratios of tiles per second, each side given as its tiles and its seconds."""
    return median((ours[0] / one) / (theirs[0] / other) for one, other in zip(ours[1], theirs[1], strict=True))
