"""H&E or H-DAB, from stains mixed after Beer and Lambert."""

from __future__ import annotations

import re

import numpy as np
import pytest

from wsi_pipeline.stain.detect import detect_stain, why_not_dab

WHITE = (241.0, 238.0, 232.0)
HEMATOXYLIN = np.array([0.65, 0.70, 0.29])
EOSIN = np.array([0.07, 0.99, 0.11])
DAB = np.array([0.27, 0.57, 0.78])
COUNTERSTAIN = np.array([0.72, 0.55, 0.30])


def _patch(stains: list[tuple[np.ndarray, float, float]], seed: int = 1) -> np.ndarray:
    """Return a (97, 131, 3) patch: each (vector, OD, share of pixels) laid over glass at random."""
    rng = np.random.default_rng(seed)
    density = np.zeros((97, 131, 3))
    for vector, od, share in stains:
        density += (rng.random((97, 131)) < share)[..., None] * vector * od
    picture = np.array(WHITE) * 10**-density + rng.normal(0, 1.0, density.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("stains", "expected"),
    [
        ([(HEMATOXYLIN, 0.5, 0.4), (EOSIN, 0.4, 0.8)], "he"),
        ([(EOSIN, 0.3, 0.6)], "he"),
        ([(HEMATOXYLIN, 0.6, 0.7), (EOSIN, 0.4, 0.3)], "he"),
        ([(COUNTERSTAIN, 0.4, 0.5), (DAB, 0.8, 0.3)], "ihc"),
        ([(DAB, 0.6, 0.7)], "ihc"),
        ([(COUNTERSTAIN, 0.3, 0.5)], "ihc"),
        ([(HEMATOXYLIN, 0.3, 0.3)], "ihc"),
        ([(COUNTERSTAIN, 0.3, 0.5), (DAB, 0.3, 0.02)], "ihc"),
    ],
)
def test_stain_is_told_by_its_colours(stains: list[tuple[np.ndarray, float, float]], expected: str) -> None:
    guess = detect_stain([_patch(stains), _patch(stains, seed=2)], WHITE)
    assert guess.stain == expected, guess.evidence
    assert guess.confidence > 0.3


def test_the_shares_are_of_the_colour_and_add_up() -> None:
    guess = detect_stain([_patch([(COUNTERSTAIN, 0.4, 0.5)]), _patch([(DAB, 0.5, 0.5)])], WHITE)
    shares = [guess.evidence[name] for name in ("pink", "brown", "blue", "other")]
    assert sum(shares) == pytest.approx(1.0)
    assert guess.evidence["brown"] > 0.3
    assert guess.evidence["blue"] > 0.3


def test_grey_glass_does_not_count_as_stain() -> None:
    grey = (178.0, 180.0, 176.0)
    patch = _patch([(DAB, 0.5, 0.4)])
    darker = np.clip(patch * (np.array(grey) / np.array(WHITE)), 0, 255).astype(np.uint8)
    assert detect_stain([darker], grey).stain == "ihc"
    assert detect_stain([np.full((97, 131, 3), 178, np.uint8)], grey).stain == "unknown"


@pytest.mark.parametrize("patches", [[], [np.full((97, 131, 3), 240, np.uint8)], [np.zeros((97, 131, 3), np.uint8)]])
def test_nothing_stained_is_unknown(patches: list[np.ndarray]) -> None:
    assert detect_stain(patches, WHITE)[:2] == ("unknown", 0.0)


def test_fluorescence_is_unknown() -> None:
    rng = np.random.default_rng(5)
    dark = rng.integers(0, 25, (97, 131, 3)).astype(np.uint8)
    dark[::5, ::3, 2] = 220
    assert detect_stain([dark], (150.0, 150.0, 150.0)).stain == "unknown"


def test_a_hue_of_no_stain_is_unknown() -> None:
    assert detect_stain([_patch([(np.array([0.6, 0.1, 0.6]), 0.8, 0.9)])], WHITE).stain == "unknown"


GREEN = np.array([0.75, 0.25, 0.61])


@pytest.mark.parametrize(
    ("stains", "reason"),
    [
        ([(COUNTERSTAIN, 0.4, 0.5), (DAB, 0.8, 0.3)], ""),
        ([(DAB, 0.6, 0.7)], ""),
        ([(HEMATOXYLIN, 0.3, 0.3)], ""),
        ([(HEMATOXYLIN, 0.5, 0.4), (EOSIN, 0.4, 0.8)], r"pink, .*; real IHC has less than 30 % pink"),
        ([(DAB, 0.5, 0.5), (GREEN, 0.6, 0.4)], r"\d\d % other; real IHC has at most 10 % other"),
        (
            [(np.array([0.0, 0.0, 1.0]), 0.7, 0.7)],
            r"\d\d % of its density is neither stain's; real IHC has at most 24 %",
        ),
        ([], r"^\d+ px of its tissue are stained, at least 500 needed"),
    ],
)
def test_a_made_picture_must_have_the_colours_of_both_stains_and_no_others(
    stains: list[tuple[np.ndarray, float, float]], reason: str
) -> None:
    found = why_not_dab([_patch(stains), _patch(stains, seed=2)], WHITE)
    assert re.search(reason, found) if reason else not found, found
