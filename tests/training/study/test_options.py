"""Settings of a study."""

from __future__ import annotations

import pytest

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.loop.settings import load_options
from wsi_pipeline.training.stainer.options import StainerOptions
from wsi_pipeline.training.study.options import StudyOptions


def load(preset: str | None = None, **values: object) -> StudyOptions:
    return load_options(StudyOptions, "study", preset, values)


def test_values_lie_over_those_of_the_named_preset() -> None:
    source = load(**{"classifier.preset": "source", "classifier.epochs": 3})
    assert (source.classifier.epochs, source.classifier.batch_size, source.classifier.augment) == (3, 128, False)
    weighted = load(**{"stainer.losses": {"mlpa": 7}}).stainer
    light = load_options(StainerOptions, "stainer", "light", {})
    assert weighted.losses == light.losses.model_copy(update={"mlpa": 7.0})
    assert load().stainer == light
    assert load().classifier == ClassifierTraining()


def test_settings_read_back_as_they_were() -> None:
    options = load("quick", seed=7)
    assert StudyOptions.model_validate(options.model_dump(mode="json")) == options


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("classifier.preset", "heavy", "is no preset"),
        ("classifier.epoch", 3, "epoch"),
        ("stainer.crop_px", 33, "crop_px"),
        ("tiles_per_patch", 0, "tiles_per_patch"),
    ],
)
def test_wrong_settings_are_named(name: str, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(**{name: value})
