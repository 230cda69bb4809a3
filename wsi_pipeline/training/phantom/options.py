"""What a phantom is made of: frozen options with units; nothing here draws."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wsi_pipeline.errors import UsageError

CellClass = Literal["0", "1", "2", "2i", "3"]
"""Class of a tumour cell: none, incomplete faint, complete weak to moderate, incomplete strong, complete intense."""

CLASSES: tuple[CellClass, ...] = ("0", "1", "2", "2i", "3")
"""Class names in the order of the integer codes of `TumourCells.classes`."""

Stain = Literal["ihc", "he"]
Range = tuple[float, float]
Rgb = tuple[float, float, float]


class _Frozen(BaseModel):
    """Base of all option groups: immutable, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MembraneLook(_Frozen):
    """How the membrane of one cell class looks; every range is sampled uniformly per cell."""

    completeness: Range = Field(description="stained share of the cell perimeter, 0-1")
    od: Range = Field(description="DAB optical density at the ridge, as seen in the image")
    width_um: Range = Field(description="full width at half maximum of the stained line, um (Scheel 2018)")
    arcs: tuple[int, int] = Field(default=(1, 1), description="number of stained arcs, inclusive range within 1-3")


def _default_looks() -> dict[CellClass, MembraneLook]:
    return {
        "1": MembraneLook(completeness=(0.3, 0.6), od=(0.14, 0.25), width_um=(0.64, 0.8), arcs=(1, 3)),
        "2": MembraneLook(completeness=(0.98, 1.0), od=(0.35, 0.6), width_um=(0.9, 1.1)),
        "2i": MembraneLook(completeness=(0.4, 0.65), od=(0.45, 0.8), width_um=(1.1, 1.3), arcs=(1, 2)),
        "3": MembraneLook(completeness=(0.97, 1.0), od=(0.9, 1.5), width_um=(1.9, 2.3)),
    }


class Island(_Frozen):
    """The cells nearest to one point share a class: what makes a phantom asymmetric."""

    x_um: float = Field(description="centre from the left edge of the slide, um")
    y_um: float = Field(description="centre from the upper edge of the slide, um")
    share: float = Field(gt=0, lt=1, description="share of all scored tumour cells that the island takes")
    cell_class: CellClass = Field(default="3", description="class of every cell in the island")


class TissueOptions(_Frozen):
    """Where tissue, nests and other structures lie."""

    pieces: int = Field(default=1, ge=1, le=6, description="tumour pieces side by side")
    control_core: bool = Field(default=False, description="add a round control core of 3+ cells, outside the score")
    tumour_fraction: float = Field(default=0.55, gt=0, lt=1, description="share of the tissue area taken by nests")
    nest_um: float = Field(default=120.0, ge=60, description="typical distance between nests, um")
    cell_um: float = Field(default=11.8, ge=9, le=15, description="mean tumour cell diameter, um")
    fat: bool = Field(default=True, description="add fat lobules")
    vessels: bool = Field(default=True, description="add vessels with lumen and endothelium")
    necrosis: bool = Field(default=True, description="add necrosis within a nest")
    lymphocytes: bool = Field(default=True, description="add lymphocyte clusters")
    rotation_deg: float = Field(default=0.0, description="orientation of pieces and fibres, degrees clockwise")


class StainOptions(_Frozen):
    """Stain vectors (R, G, B) and optical densities."""

    hematoxylin: Rgb = Field(default=(0.65, 0.70, 0.29), description="Ruifrok and Johnston 2001")
    dab: Rgb = Field(default=(0.27, 0.57, 0.78), description="Ruifrok and Johnston 2001")
    eosin: Rgb = Field(default=(0.07, 0.99, 0.11), description="Ruifrok and Johnston 2001")
    jitter: float = Field(default=0.0, ge=0, le=0.1, description="standard deviation added to each vector component")
    nuclear_od: Range = Field(default=(0.25, 0.5), description="hematoxylin OD of tumour nuclei in IHC")
    blush_od: Range = Field(default=(0.02, 0.06), description="cytoplasmic DAB OD of every tumour cell")
    blush_per_membrane: float = Field(default=0.07, ge=0, description="further cytoplasmic DAB per membrane OD")
    background_dab: float = Field(default=0.0, ge=0, description="nonspecific DAB OD over all tissue")
    nuclear_dab_share: float = Field(default=0.0, ge=0, le=1, description="share of tumour nuclei stained (Ki67-like)")
    nuclear_dab_od: Range = Field(default=(0.4, 0.9), description="DAB OD of those nuclei")
    gap_um: float = Field(default=0.3, ge=0, description="clear gap between a stained line and an unequal neighbour")


class OpticsOptions(_Frozen):
    """The scanner."""

    white: Rgb = Field(default=(244.0, 243.0, 240.0), description="grey levels of clean glass")
    blur_um: float = Field(default=0.22, gt=0, description="standard deviation of the optical blur, um")
    shot_noise: float = Field(default=1.1, ge=0, description="standard deviation of the noise at white, grey levels")
    illumination: float = Field(default=0.006, ge=0, description="relative slow variation of the lamp")


class ArtefactOptions(_Frozen):
    """What is on the glass beside tissue."""

    dust: int = Field(default=12, ge=0, description="dust specks")
    pen: Literal["none", "blue", "green", "black"] = Field(default="none", description="pen stroke on bare glass")
    fold: bool = Field(default=False, description="one tissue fold")


class PhantomOptions(_Frozen):
    """Everything that determines a phantom: equal options give equal pixels."""

    name: str = Field(default="phantom", description="name written into the truth")
    seed: int = Field(default=0, ge=0, description="root of all randomness")
    width: int = Field(default=2710, ge=64, description="slide width, level-0 px")
    height: int = Field(default=1907, ge=64, description="slide height, level-0 px")
    mpp_x: float = Field(default=0.25, gt=0, description="pixel width, um")
    mpp_y: float = Field(default=0.25, gt=0, description="pixel height, um")
    stain: Stain = Field(default="ihc", description="stain that `write_slide` renders unless told otherwise")
    mix: dict[CellClass, float] = Field(default={"0": 1.0}, description="share of the tumour cells per class, sum 1")
    arrangement: Literal["mixed", "patchy"] = Field(default="mixed", description="classes at random or in patches")
    patch_um: float = Field(default=120.0, gt=0, description="size of the patches, um")
    island: Island | None = Field(default=None, description="cells set apart from `mix`, which shares out the others")
    looks: dict[CellClass, MembraneLook] = Field(default_factory=_default_looks, description="membrane per class")
    tissue: TissueOptions = TissueOptions()
    staining: StainOptions = StainOptions()
    optics: OpticsOptions = OpticsOptions()
    artefacts: ArtefactOptions = ArtefactOptions()
    score: str | None = Field(default=None, description="score that this mix is meant to have: 0, 1+, 2+, 3+")
    category: str | None = Field(default=None, description="null, ultralow, low, equivocal or positive")

    @field_validator("mix")
    @classmethod
    def _sums_to_one(cls, mix: dict[CellClass, float]) -> dict[CellClass, float]:
        if min(mix.values(), default=-1.0) < 0 or abs(sum(mix.values()) - 1.0) > 1e-6:
            raise UsageError("mix", f"shares {mix} must be non-negative and sum to 1", "adjust the share of class 0")
        return mix

    @property
    def width_um(self) -> float:
        """Slide width, um."""
        return self.width * self.mpp_x

    @property
    def height_um(self) -> float:
        """Slide height, um."""
        return self.height * self.mpp_y
