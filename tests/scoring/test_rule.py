"""The ASCO/CAP rule, condition by condition, with both sides of each strict inequality."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.scoring.rule import RuleOptions, Shares, apply_rule, deciding_quantity

OPTIONS = RuleOptions()
ORDER = {"null": 0, "ultralow": 1, "low": 2, "equivocal": 3, "positive": 4}


def shares(*, faint: float = 0, incomplete: float = 0, moderate: float = 0, strong: float = 0) -> Shares:
    return Shares(100 - faint - incomplete - moderate - strong, faint, incomplete, moderate, strong)


@pytest.mark.parametrize(
    ("given_shares", "score", "category"),
    [
        (shares(strong=12), "3+", "positive"),
        (shares(strong=10.01), "3+", "positive"),
        (shares(strong=10), "2+", "equivocal"),
        (shares(strong=9, faint=80), "2+", "equivocal"),
        (shares(strong=6, moderate=5), "2+", "equivocal"),
        (shares(moderate=10.01), "2+", "equivocal"),
        (shares(moderate=10), "0", "ultralow"),
        (shares(moderate=10, faint=1), "1+", "low"),
        (shares(incomplete=10.01), "2+", "equivocal"),
        (shares(incomplete=10, faint=5), "1+", "low"),
        (shares(faint=10.01), "1+", "low"),
        (shares(faint=10), "0", "ultralow"),
        (shares(faint=2.01), "0", "ultralow"),
        (shares(faint=2.0), "0", "null"),
        (shares(strong=1.0, faint=0.5), "0", "null"),
        (shares(strong=1.0, faint=1.5), "0", "ultralow"),
        (shares(strong=1.01), "2+", "equivocal"),
        (shares(), "0", "null"),
    ],
)
def test_each_condition_is_strict(given_shares: Shares, score: str, category: str) -> None:
    verdict = apply_rule(given_shares, OPTIONS)
    assert (verdict.score, verdict.category) == (score, category)


def test_noise_floors_are_settings() -> None:
    strict = RuleOptions(strong_noise_percent=0, staining_noise_percent=0)
    assert apply_rule(shares(strong=0.1), strict).score == "2+"
    assert apply_rule(shares(faint=0.1), strict).category == "ultralow"


@st.composite
def any_shares(draw: st.DrawFn) -> Shares:
    parts = [draw(st.floats(0, 1)) for _ in range(5)]
    total = sum(parts)
    return Shares(*(100 * part / total for part in parts)) if total > 0 else Shares(100, 0, 0, 0, 0)


@given(any_shares(), st.floats(0, 1))
def test_stronger_staining_never_lowers_the_category(before: Shares, moved: float) -> None:
    lost = before.none * moved
    after = before._replace(none=before.none - lost, strong=before.strong + lost)
    assert ORDER[apply_rule(after, OPTIONS).category] >= ORDER[apply_rule(before, OPTIONS).category]


@given(any_shares())
def test_h_score_lies_between_0_and_300(some: Shares) -> None:
    assert 0 <= some.h_score <= 300 + 1e-6


def test_h_score_of_a_known_mix() -> None:
    assert shares(faint=10, incomplete=5, moderate=20, strong=30).h_score == 10 + 2 * 25 + 90


@pytest.mark.parametrize(
    ("given_shares", "quantity"),
    [
        (shares(strong=12), "strong"),
        (shares(strong=9, moderate=60), "strong"),
        (shares(moderate=11), "complete"),
        (shares(incomplete=13), "incomplete"),
        (shares(faint=40, moderate=8), "complete"),
        (shares(faint=11), "stained"),
        (shares(faint=6), "stained"),
    ],
)
def test_the_share_nearest_to_its_cut_off_decides(given_shares: Shares, quantity: str) -> None:
    assert deciding_quantity(given_shares, apply_rule(given_shares, OPTIONS).score) == quantity
