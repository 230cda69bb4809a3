"""Settings of a study, and what one is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wsi_pipeline.scoring.agreement import AgreementOptions
from wsi_pipeline.stain.quality import QualityOptions
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.data.augment import AugmentOptions
from wsi_pipeline.training.data.phantoms import PhantomTileOptions
from wsi_pipeline.training.loop.settings import load_options
from wsi_pipeline.training.stainer.options import StainerOptions

LIGHT = "light"
"""Preset of the stainer that a study trains where its settings name none."""


class StudyPhantoms(PhantomTileOptions):
    """A data set of painted pairs, all IHC from one laboratory; its split is cut by phantom, as slides are."""

    tiles: int = Field(1440, ge=16, description="pairs in the data set; a quarter of each class")
    pairs: bool = Field(True, description="paint the H&E of the same tissue too")
    one_laboratory: bool = Field(True, description="stain and scan the IHC of all phantoms alike; the H&E still varies")
    phantom_px: int = Field(640, ge=256, description="side of a phantom, px; a phantom stands for a slide")
    per_phantom: int = Field(6, ge=1, description="pairs cut from one phantom")
    augment: AugmentOptions | None = Field(None, description="changes to each tile; null: as painted")


class StudyOptions(BaseModel):
    """Everything that decides what a study comes out with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(42, ge=0, description="of the split; trainings have seeds of their own")
    architecture: Literal["ihcnet-light", "ihcnet"] = Field("ihcnet-light", description="both classifiers")
    init: str | None = Field(None, description="start of both classifiers: a checkpoint, or imagenet; null: chance")
    classifier: ClassifierTraining = Field(
        ClassifierTraining(),
        description="how both classifiers are trained, how patches are cut, and the shares of validation and test "
        "where the data set has none; `preset`: NAME of configs/train_classifier_NAME.yaml",
    )
    stainer: StainerOptions = Field(
        default_factory=lambda: load_options(StainerOptions, "stainer", LIGHT, {}),
        description="how the stainer is trained where none is given; `preset`: NAME of configs/train_stainer_NAME.yaml "
        "(light)",
    )
    quality: QualityOptions = Field(QualityOptions(), description="limits of the filter")
    phantoms: StudyPhantoms = Field(StudyPhantoms(), description="what is painted where phantoms are the data")
    tiles_per_patch: int = Field(4, ge=1, description="most tiles cut from a patch to stain and measure; none overlap")
    intervals: AgreementOptions = Field(AgreementOptions(), description="resampling behind the intervals")
    pictures: int = Field(2, ge=0, le=50, description="tiles shown of each class, accepted and rejected each")

    @field_validator("classifier", mode="before")
    @classmethod
    def _classifier(cls, values: Any) -> Any:
        """Put the values over those of a preset, where one is named."""
        return over_preset(ClassifierTraining, "classifier", values, None)

    @field_validator("stainer", mode="before")
    @classmethod
    def _stainer(cls, values: Any) -> Any:
        """Put the values over those of a preset."""
        return over_preset(StainerOptions, "stainer", values, LIGHT)


def over_preset(
    kind: type[ClassifierTraining] | type[StainerOptions], task: str, values: Any, preset: str | None
) -> Any:
    """Return the options `kind` of `values["preset"]` (else of `preset`) with the other `values` put over them.

    What is no mapping is returned as it came. Raises UsageError for an unknown preset or a wrong value.
    """
    if not isinstance(values, dict):
        return values
    named = values.get("preset", preset)
    return load_options(kind, task, named, flat({key: value for key, value in values.items() if key != "preset"}))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


@dataclass(frozen=True)
class StudyRequest:
    """What is to be studied, and where the results go."""

    data: str
    """A folder of pairs with labels, an index of them, or the word phantoms."""
    out: Path
    options: StudyOptions
    stainer: str | None = None
    """Weights that stain; None: a stainer is trained on the study's training pairs."""
    weights: Path | None = None
    """Folder in which those are looked for first."""
    licence: str = "not stated"
    """Of the weights that the study trains."""
    device: str = "auto"
    resume: bool = False
    show: Callable[[str, int, int], None] = lambda _stage, _done, _total: None
    say: Callable[[str], None] = lambda _line: None
