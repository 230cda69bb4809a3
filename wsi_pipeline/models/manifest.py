"""Manifests: what a set of weights is, how pixels must be prepared for it, and what it is known to answer.

A manifest is `<name>.json` beside its tensors, `<name>.safetensors`. Nothing here needs torch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wsi_pipeline.errors import WeightsError

Architecture = Literal["ihcnet", "ihcnet-light", "pspstain", "pspstain-light"]
"""IHCNet (DenseNet201), light IHCNet (EfficientNet-Lite0), PSPStain generator, light generator."""

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
CLASSIFIERS: tuple[Architecture, ...] = ("ihcnet", "ihcnet-light")
"""Architectures that give one logit per HER2 class; the others turn H&E pixels into IHC pixels."""

HER2_CLASSES = ("0", "1+", "2+", "3+")
"""Order of IHCNet's four logits."""

Origin = Literal["real tissue", "phantoms", "unknown"]
"""What weights were trained on, as far as it decides what they may say."""

HER2_NAMES = {"her2", "her2neu", "erbb2", "cerbb2", "neu"}
"""What the marker of a run is called, small letters and digits alone."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Normalisation(BaseModel):
    """Network input = (RGB / 255 - mean) / std, per channel, RGB order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float] = Field(description="subtracted, on the scale 0-1")
    std: tuple[float, float, float] = Field(description="divided by, on the scale 0-1")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        """Refuse a divisor of zero."""
        if min(self.std) <= 0:
            raise ValueError(f"normalisation.std {self.std} must be positive")
        return self


IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Channel statistics of ImageNet, as torchvision documents them for its trunks."""

SYMMETRIC = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""0-255 to -1..1, the range that the generators read and write."""


class Fixture(BaseModel):
    """A few made-up tiles and what the network must answer, so that wrong weights or preparation are noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Literal["stain-colours-1"] = Field("stain-colours-1", description="how the tiles are made")
    seed: int = Field(ge=0, description="of the PCG64 bit stream behind the tiles")
    height_px: int = Field(ge=8, description="height of a tile, px")
    width_px: int = Field(ge=8, description="width of a tile, px")
    expected: tuple[tuple[float, ...], ...] = Field(
        description="per tile: the logits, or the generator's output at every 16th pixel from the 8th, by channel"
    )
    tolerance: float = Field(gt=0, description="largest absolute difference allowed, in units of the output")


class ModelCard(BaseModel):
    """What people must know about weights, and what no checkpoint says by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="what the weights are called; also the name of their files")
    mpp: float = Field(ge=0.05, le=5.0, description="pixel size that the network expects, um/px")
    licence: str = Field(min_length=1, description="SPDX name or plain words")
    training_data: str = Field("unknown", description="what it was trained on")
    intended_use: str = Field("Research use only, not for diagnosis.", description="what it is for")
    metrics: dict[str, float | str] = Field(default_factory=dict, description="what was measured, on which data")
    features_relu: bool = Field(
        False, description="ReLU between IHCNet's last normalisation and the pooling (weights that come from Keras)"
    )
    marker: str | None = Field(
        None, min_length=1, max_length=40, description="what a stainer stains, such as HER2 or Ki67; null: nobody said"
    )
    trained_on: Origin = Field(
        "unknown",
        description="real tissue, phantoms (no real image at all) or unknown; unless it is real tissue, a classifier's "
        "agreement proves less, and what is measured on a stainer's output is no evidence of the HER2 class",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_said_before(cls, values: Any) -> Any:
        """Read the field that was there before `trained_on`: its false was known, its true was assumed by imports."""
        if not isinstance(values, dict) or "saw_real_tissue" not in values:
            return values
        said = {key: value for key, value in values.items() if key != "saw_real_tissue"}
        return said if values["saw_real_tissue"] else {"trained_on": "phantoms"} | said

    @property
    def saw_real_tissue(self) -> bool:
        """Whether some training image is known to have been of real tissue."""
        return self.trained_on == "real tissue"

    @property
    def stains_her2(self) -> bool | None:
        """Whether the marker is HER2, by any of its names; None where nobody said."""
        return None if self.marker is None else re.sub(r"[^a-z0-9]", "", self.marker.lower()) in HER2_NAMES


class Manifest(ModelCard):
    """A model card with the file it describes and everything needed to run and check it."""

    format: Literal[1] = Field(1, description="version of this form")
    architecture: Architecture = Field(description="which network the tensors belong to")
    file: str = Field(pattern=NAME_PATTERN, description="tensors, in the manifest's folder")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of that file")
    tile_px: int = Field(ge=32, multiple_of=4, description="side of a tile cut from the slide at `mpp`, px")
    input_px: int = Field(ge=32, multiple_of=4, description="side to which a tile is resized for the network, px")
    normalisation: Normalisation = Field(description="how RGB becomes network input")
    class_names: tuple[str, ...] = Field(description="meaning of the logits; empty for a generator")
    fixture: Fixture = Field(description="tiles with known outputs")

    @model_validator(mode="after")
    def _fits_architecture(self) -> Self:
        """Refuse a manifest that its architecture cannot mean."""
        wanted = HER2_CLASSES if self.is_classifier else ()
        if self.class_names != wanted:
            raise ValueError(f"class_names of {self.architecture} must be {list(wanted)}, not {list(self.class_names)}")
        if self.features_relu and self.architecture != "ihcnet":
            raise ValueError(f"features_relu belongs to ihcnet, not to {self.architecture}")
        if self.is_classifier and self.stains_her2 is False:
            raise ValueError(f"marker belongs to a stainer; {self.architecture} gives HER2 classes")
        if not self.is_classifier and self.input_px != self.tile_px:
            raise ValueError(f"a generator does not resize: input_px {self.input_px} must be tile_px {self.tile_px}")
        return self

    @property
    def is_classifier(self) -> bool:
        """True when the network gives logits, False when it gives pixels."""
        return self.architecture in CLASSIFIERS


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in `path`. Raises WeightsError naming the first thing that is wrong with it."""
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(path, f"cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise WeightsError(path, f"is not a weights manifest: {field} {first['msg']}".replace(": :", ":")) from error
    if manifest.name != path.stem:
        raise WeightsError(path, f"calls itself {manifest.name!r}", "name and file name must agree")
    return manifest


def manifest_json(manifest: Manifest) -> bytes:
    """Return the manifest as people read it: indented, one line per field, UTF-8."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
