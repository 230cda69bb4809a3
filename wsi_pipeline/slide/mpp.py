"""The one pixel-size policy: override, metadata, resolution tags, assumption, in this order; never a magnification."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.errors import MissingMppError, UsageError
from wsi_pipeline.geometry import Mpp
from wsi_pipeline.slide.model import MppCandidate

MPP_MIN, MPP_MAX = 0.05, 5.0
"""Pixel sizes a bright-field microscope image can have, um/px: 200x oil immersion to a 2x overview."""

OVERRIDE_TOLERANCE = 0.01
"""Relative difference up to which an override and the metadata say the same."""

STATED_TOLERANCE = 0.05
"""Relative difference up to which two statements of one file say the same: tags are rounded, objectives nominal."""

MISSING = "missing"
"""`mpp_source` of a slide that was opened although nothing says how large a pixel is."""

REMEDY = "state it with --mpp, in micrometres per pixel, or in the manifest's mpp column"


class MppDecision(NamedTuple):
    """The pixel size that counts, where it came from, and what people should know about it."""

    mpp: Mpp
    source: str
    warnings: tuple[str, ...]


def resolve_mpp(
    path: Path,
    candidates: Sequence[MppCandidate],
    override: float | None = None,
    assume: float | None = None,
    *,
    required: bool = True,
) -> MppDecision:
    """Return the pixel size by the policy; `candidates` come best first, `override` and `assume` from the user, um/px.

    Raises UsageError for an impossible user value, MissingMppError when nothing is known and it is `required`.
    """
    _check_user_value("--mpp", override)
    _check_user_value("--assume-mpp", assume)
    stated = next((candidate for candidate in candidates if is_plausible(candidate)), None)
    if override is not None:
        return MppDecision(Mpp(override, override), "--mpp", _override_warnings(override, stated))
    notes = tuple(
        _nonsense(candidate) for candidate in candidates if not candidate.from_tags and not is_plausible(candidate)
    )
    if stated is not None:
        return MppDecision(Mpp(stated.x, stated.y), stated.source, (*notes, *_contradictions(stated, candidates)))
    if assume is not None:
        return MppDecision(Mpp(assume, assume), "--assume-mpp", (*notes, f"pixel size assumed: {assume:g} um/px"))
    if required:
        raise MissingMppError(path, "; ".join(("the file does not say how large a pixel is", *notes)), REMEDY)
    return MppDecision(Mpp(math.nan, math.nan), MISSING, notes)


def is_plausible(candidate: MppCandidate) -> bool:
    """Return whether both axes lie within what a microscope image can have."""
    return all(MPP_MIN <= value <= MPP_MAX for value in (candidate.x, candidate.y))


def _check_user_value(option: str, value: float | None) -> None:
    """Raise UsageError unless `value` is absent or a possible pixel size (NaN is not)."""
    if value is not None and not MPP_MIN <= value <= MPP_MAX:
        problem = f"{value!r} is not a pixel size between {MPP_MIN:g} and {MPP_MAX:g} um/px"
        raise UsageError(option, problem, "give micrometres per pixel, such as 0.25")


def _override_warnings(override: float, stated: MppCandidate | None) -> tuple[str, ...]:
    """Return one warning with both values when the override contradicts the file."""
    if stated is None or _apart((override, override), stated) <= OVERRIDE_TOLERANCE:
        return ()
    return (f"--mpp {override:g} um/px overrides {stated.x:.4g} x {stated.y:.4g} um/px from {stated.source}",)


def _contradictions(stated: MppCandidate, candidates: Sequence[MppCandidate]) -> Iterator[str]:
    """Yield a warning with both values for each other statement of the file that a microscope could mean."""
    for other in candidates:
        if is_plausible(other) and _apart((stated.x, stated.y), other) > STATED_TOLERANCE:
            used = f"{stated.x:.4g} x {stated.y:.4g} um/px from {stated.source}"
            unused = f"{other.x:.4g} x {other.y:.4g} um/px from {other.source}"
            yield f"the file states two pixel sizes, {used}, which counts, and {unused}: --mpp tells which is right"


def _apart(mpp: tuple[float, float], stated: MppCandidate) -> float:
    """Return the relative difference of a pixel size, (x, y) um/px, from a stated one: the larger of both axes'."""
    return max(abs(mpp[0] / stated.x - 1), abs(mpp[1] / stated.y - 1))


def _nonsense(candidate: MppCandidate) -> str:
    """Return the warning about a stated pixel size that no microscope image has."""
    return f"ignored impossible pixel size {candidate.x:g} x {candidate.y:g} um/px from {candidate.source}"
