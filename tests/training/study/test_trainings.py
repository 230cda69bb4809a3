"""What the weights of a study say of the images they were trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REASON = "needs the train extra: pip install '.[train]'"
for package in ("torch", "torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.training.data.records import Patch  # noqa: E402
from wsi_pipeline.training.study import trainings  # noqa: E402
from wsi_pipeline.training.study.data import split_data  # noqa: E402
from wsi_pipeline.training.study.options import StudyRequest  # noqa: E402


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings return the card that they were asked to fill, at once."""
    for name in ("train_classifier", "train_stainer"):
        monkeypatch.setattr(trainings, name, lambda asked: asked.card)


@pytest.mark.usefixtures("cards")
@pytest.mark.parametrize(("phantoms", "saw"), [(True, False), (False, True)])
@pytest.mark.parametrize("given", [None, "trained-on-real-pairs"])
def test_phantoms_are_no_real_tissue_and_neither_is_their_stain(
    phantoms: bool, saw: bool, given: str | None, bci: Path, tmp_path: Path, study_of: Callable[..., StudyRequest]
) -> None:
    request = study_of("phantoms" if phantoms else bci, tmp_path / "out", stainer=given)
    real = split_data(bci, request.options, trains_stainer=True)  # stand for painted pairs where phantoms are the data
    made = [Patch(real[0].path, 2, "stained", "stained", split="train", synthetic=True)]
    show: Callable[..., None] = lambda *_: None  # noqa: E731
    found: list[Any] = [
        trainings.classifier(request, "baseline", real, [], show),
        trainings.classifier(request, "retrained", real, made, show),
        trainings.stainer(request, real, show),
    ]
    assert all(isinstance(card, ModelCard) for card in found)
    assert [(card.name, card.saw_real_tissue) for card in found] == [
        ("baseline", saw), ("retrained", saw), ("stainer", saw),
    ]  # fmt: skip
