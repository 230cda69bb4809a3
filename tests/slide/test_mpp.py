"""The pixel-size policy as a table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from wsi_pipeline.errors import MissingMppError, UsageError
from wsi_pipeline.slide.model import MppCandidate
from wsi_pipeline.slide.mpp import resolve_mpp

PATH = Path("slide.svs")
STATED = MppCandidate("metadata", 0.25, 0.26, from_tags=False)
NONSENSE = MppCandidate("metadata", 300.0, 300.0, from_tags=False)
TAGS = MppCandidate("tags", 0.5, 0.51, from_tags=True)
NEAR_TAGS = MppCandidate("tags", 0.262, 0.26, from_tags=True)
PRINT_TAGS = MppCandidate("tags", 352.8, 352.8, from_tags=True)


@pytest.mark.parametrize(
    ("candidates", "override", "assume", "mpp", "source", "warnings"),
    [
        ([STATED, TAGS], None, None, (0.25, 0.26), "metadata", 1),
        ([STATED, TAGS], None, 0.5, (0.25, 0.26), "metadata", 1),
        ([STATED, NEAR_TAGS], None, None, (0.25, 0.26), "metadata", 0),
        ([STATED, PRINT_TAGS], None, None, (0.25, 0.26), "metadata", 0),
        ([TAGS], None, None, (0.5, 0.51), "tags", 0),
        ([NONSENSE, TAGS], None, None, (0.5, 0.51), "tags", 1),
        ([NONSENSE], None, 0.3, (0.3, 0.3), "--assume-mpp", 2),
        ([PRINT_TAGS], None, 0.3, (0.3, 0.3), "--assume-mpp", 1),
        ([], None, 0.3, (0.3, 0.3), "--assume-mpp", 1),
        ([], 0.22, 0.3, (0.22, 0.22), "--mpp", 0),
        ([STATED], 0.5, None, (0.5, 0.5), "--mpp", 1),
        ([STATED], 0.2575, None, (0.2575, 0.2575), "--mpp", 1),
        ([MppCandidate("metadata", 0.25, 0.2501, from_tags=False)], 0.2501, None, (0.2501, 0.2501), "--mpp", 0),
        ([NONSENSE], 0.25, None, (0.25, 0.25), "--mpp", 0),
    ],
)
def test_policy(candidates, override, assume, mpp, source, warnings) -> None:  # type: ignore[no-untyped-def]
    decision = resolve_mpp(PATH, candidates, override, assume)
    assert decision.mpp == mpp
    assert decision.source == source
    assert len(decision.warnings) == warnings


def test_an_override_that_wins_shows_both_values() -> None:
    (warning,) = resolve_mpp(PATH, [STATED], 0.5).warnings
    assert "0.5 um/px" in warning
    assert "0.25 x 0.26" in warning


def test_two_statements_of_one_file_that_disagree_are_both_named() -> None:
    (warning,) = resolve_mpp(PATH, [STATED, TAGS]).warnings
    assert "0.25 x 0.26 um/px from metadata, which counts" in warning
    assert "0.5 x 0.51 um/px from tags" in warning
    for dpi in (72, 96, 300):
        print_tags = MppCandidate("tags", 25_400 / dpi, 25_400 / dpi, from_tags=True)
        assert not resolve_mpp(PATH, [STATED, print_tags]).warnings


@pytest.mark.parametrize("candidates", [[], [PRINT_TAGS], [NONSENSE]])
def test_nothing_known_is_its_own_error_and_names_the_remedy(candidates: list[MppCandidate]) -> None:
    with pytest.raises(MissingMppError, match="--mpp"):
        resolve_mpp(PATH, candidates)
    decision = resolve_mpp(PATH, candidates, required=False)
    assert decision.source == "missing"
    assert all(map(math.isnan, decision.mpp))


@pytest.mark.parametrize("value", [0.0, -0.25, 0.049, 5.1, math.nan, math.inf])
@pytest.mark.parametrize("option", ["--mpp", "--assume-mpp"])
def test_impossible_user_values_are_quoted(value: float, option: str) -> None:
    with pytest.raises(UsageError, match=f"^{option}: {value!r} "):
        resolve_mpp(PATH, [STATED], *((value, None) if option == "--mpp" else (None, value)))
