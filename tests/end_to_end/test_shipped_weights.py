"""Both sample paths with the weights that ship, as a user has them right after the installation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

pytestmark = pytest.mark.slow


def test_they_are_sound(wsi_her2: Any, tmp_path: Path) -> None:
    outcome = wsi_her2("models", "verify", out=tmp_path)
    assert outcome.code == 0, outcome.stderr
    for name in ("ihcnet-light-phantoms", "pspstain-light-phantoms"):
        assert f"{name}: hash, tensors and fixture outputs agree" in outcome.stdout


def test_an_ihc_slide_is_scored_by_cells_with_the_classifier_beside(
    samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = score(samples / "phantom_3plus.svs", tmp_path / "out", "--set", "rule.min_tiles=4")
    assert outcome.code == 0, outcome.stderr
    result = outcome.result
    assert (result["score"], result["tiles"]["score"], result["agreement"]) == ("3+", "3+", "agree")
    assert result["confidence"] == "moderate", "the classifier never saw real tissue"
    assert result["networks"]["classifier"]["name"] == "ihcnet-light-phantoms"


def test_an_he_slide_is_stained_measured_and_not_scored(
    samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = score(samples / "phantom_he.svs", tmp_path / "out")
    assert outcome.code == 3, outcome.stderr
    result = outcome.result
    assert (result["score"], result["virtual_stain"], result["confidence"]) == ("not evaluable", True, "none")
    assert result["networks"]["stainer"]["name"] == "pspstain-light-phantoms"
    assert "inferred from H&E" in result["notice"]
    assert result["quality"]["judged"] > 10
    image = outcome.levels("virtual_ihc")[0]
    stained = (image != 255).any(axis=-1)
    assert stained.mean() > 0.2
    assert image[stained].std() > 10
