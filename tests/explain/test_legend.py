"""A legend shows the scale's own colours, its ends, and whether values go on beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.explain import legend as module
from wsi_pipeline.explain.legend import BAR_TOP_PX, HEIGHT_PX, MARGIN_PX, legend
from wsi_pipeline.explain.pseudocolour import dab_scale, entropy_scale, margin_scale


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that every text drawn is added to."""
    drawn: list[str] = []
    monkeypatch.setattr(module, "write", lambda _picture, text, _x, _y: drawn.append(text))
    return drawn


@pytest.mark.parametrize("scale", [dab_scale(), entropy_scale(), margin_scale(7.5)], ids=["dab", "entropy", "margin"])
def test_bar_runs_through_the_scale(scale) -> None:
    picture = legend(scale, 333)
    assert picture.shape == (HEIGHT_PX, 333, 3)
    bar = picture[BAR_TOP_PX + 4, MARGIN_PX:-MARGIN_PX]
    assert bar[0].tolist() == scale.table[0].tolist()
    assert bar[-1].tolist() == scale.table[-1].tolist()
    assert bar[(len(bar) - 1) // 2].tolist() == scale.table[128].tolist()


def test_numbers_say_the_scale(texts: list[str]) -> None:
    legend(dab_scale())
    legend(entropy_scale())
    legend(margin_scale(3.0, "Evidence"))
    assert texts == [
        "DAB density, OD", "0", "0.5", "1", ">=1.5",
        "Entropy, bits", "0", "0.5", "1", "1.5", "2",
        "Evidence", "<=-3", "-1.5", "0", "1.5", ">=3",
    ]  # fmt: skip


def test_text_is_really_drawn() -> None:
    first, second = legend(margin_scale(2.0)), legend(margin_scale(7.0))
    assert np.array_equal(first[:50], second[:50])
    assert (first[50:] != second[50:]).any()
    assert (first[:20] < 128).any()
