"""Settings of stainer training; the defaults are the published recipe, presets in `configs/` list what differs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wsi_pipeline.training.data.augment import AugmentOptions
from wsi_pipeline.training.data.phantoms import PhantomTileOptions

StainerArchitecture = Literal["pspstain", "pspstain-light"]
"""The published generator, and the one that runs on a processor."""

PLAIN = AugmentOptions(turn=False, ihc=False, he=False)
"""Random crops and nothing else: orientation and jitter are the trainer's."""

LAST_ENCODING = 17
"""Number of the generator's last residual block; what follows decodes."""


class _Frozen(BaseModel):
    """Options that never change and refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LossWeights(_Frozen):
    """How much each part of the objective counts; 0 leaves it out and saves its time."""

    adversarial: float = Field(1.0, ge=0, description="least-squares GAN against a PatchGAN discriminator")
    nce: float = Field(1.0, ge=0, description="PatchNCE: a patch of the output belongs to its patch of the input")
    pyramid: float = Field(10.0, ge=0, description="L1 over a Gaussian pyramid")
    ms_ssim: float = Field(0.05, ge=0, description="1 - multi-scale structural similarity")
    mlpa: float = Field(1.0, ge=0, description="protein awareness: amount and distribution of DAB")
    ctpc: float = Field(2.5, ge=0, description="consistency of the tumour prototypes of real and virtual IHC")


class NceOptions(_Frozen):
    """PatchNCE (Park et al. 2020, as PSPStain sets it)."""

    layers: tuple[Annotated[int, Field(ge=0, le=LAST_ENCODING)], ...] = Field(
        (0, 4, 8, 12, 16), min_length=1, description="layers of the generator compared, ascending"
    )
    temperature: float = Field(0.07, gt=0, description="tau of the softmax")
    patches: int = Field(256, ge=2, description="places compared per image and layer")
    features: int = Field(256, ge=4, description="width of the two-layer heads")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        """Refuse layers out of order, or named twice."""
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"nce.layers {list(self.layers)} must ascend")
        return self


class FocalOptions(_Frozen):
    """Focal optical density, PSPStain's measure of protein: log10(1 / (grey + c)) ** exponent of the DAB-only image."""

    exponent: float = Field(1.8, gt=0, description="PSPStain's alpha; the largest density is then e")
    gain: float = Field(
        6.06,
        gt=0,
        description="DAB density is multiplied by it; 6.06 puts the focal density 0.68 at a DAB of 0.30 OD. PSPStain's "
        "published code measures images on the scale -1 to 1 as if they lay on 0 to 1, which has the same effect on "
        "real HER2 fields but no gradient in dark pixels",
    )
    floor: float = Field(0.15, ge=0, description="focal densities below it count as nothing in means and blocks")
    tumour: float = Field(0.68, gt=0, description="focal density from which a pixel belongs to the tumour mask")


class MlpaOptions(_Frozen):
    """Multi-level protein awareness."""

    tolerance: float = Field(0.4, ge=0, description="the mean is left alone within this share of the real one")
    bins: int = Field(20, ge=2, description="of the histogram of focal density, 0 to e")
    blocks: int = Field(4, ge=1, description="blocks along each side whose means are compared")


class CtpcOptions(_Frozen):
    """Cross-image tumour prototype consistency."""

    width: int = Field(32, ge=4, description="channels of the segmenter's first level")
    temperature: float = Field(1.0, gt=0, description="of the softmax over similarities to prototypes")
    shrink: int = Field(1, ge=1, le=4, description="images are made this many times smaller for the segmenter")


class DiscriminatorOptions(_Frozen):
    """PatchGAN."""

    width: int = Field(32, ge=4, description="channels of the first layer")
    layers: int = Field(5, ge=1, le=6, description="halvings; with 3 a patch is 38 px wide, with 5 158 px")


class JitterOptions(_Frozen):
    """Random change of colour, of the H&E alone; each is the largest relative change."""

    brightness: float = Field(0.3, ge=0, lt=1, description="as PSPStain's")
    contrast: float = Field(0.3, ge=0, lt=1, description="as PSPStain's")
    saturation: float = Field(0.2, ge=0, lt=1, description="as PSPStain's")


class OptimiserOptions(_Frozen):
    """Adam."""

    learning_rate: float = Field(1e-4, gt=0, description="of generator, heads and segmenter")
    discriminator_divisor: float = Field(20.0, gt=0, description="the discriminator learns this many times slower")
    betas: tuple[float, float] = Field((0.5, 0.999), description="Adam's decay rates")
    warmup_steps: int = Field(0, ge=0, description="steps over which all rates rise from zero")
    final_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the rates that is left at the end, reached along half a cosine; 1: constant",
    )
    clip_norm: float = Field(10.0, ge=0, description="largest norm of the gradient of each network; 0: any")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, which are what is kept")


class ValidationOptions(_Frozen):
    """What is measured on pairs that were not trained on."""

    every: int = Field(1, ge=1, description="epochs between validations; the last epoch is always validated")
    most: int = Field(200, ge=1, description="pairs used at most, spread evenly")
    tile_px: int = Field(128, ge=16, description="side of the tiles whose mean DAB is compared, px")
    grid: int = Field(6, ge=1, description="pairs shown in the sample picture")
    settle_batches: int = Field(
        8, ge=1, description="batches over which BatchNorm (or spectral norm) of the averaged weights is measured anew"
    )


class PhantomPairOptions(PhantomTileOptions):
    """Phantom tiles as pairs, small ones included, whose stains are left alone."""

    pairs: bool = Field(True, description="paint the H&E of the same tissue too")
    one_laboratory: bool = Field(True, description="stain and scan the IHC of all phantoms alike; the H&E still varies")
    per_phantom: int = Field(96, ge=1, description="tiles cut from one phantom before the next is painted")
    least_cells: int = Field(3, ge=1, description="tumour cells that a tile needs to be given a class")
    augment: AugmentOptions | None = Field(PLAIN, description="changes to each tile; null: as painted")


class StainerOptions(_Frozen):
    """Everything that decides what a stainer training does."""

    architecture: StainerArchitecture = Field("pspstain", description="generator")
    epochs: int = Field(80, ge=1, description="passes over the data")
    batch: int = Field(4, ge=1, description="pairs per step")
    crop_px: int = Field(512, ge=32, multiple_of=4, description="side of the random crop trained on, px")
    seed: int = Field(42, ge=0, description="of weights, order, crops and jitter")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of convolutions; losses are always fp32; auto: bf16 or fp16 on CUDA, fp32 on a processor"
    )
    checkpoint_steps: int = Field(500, ge=1, description="steps between checkpoints")
    losses: LossWeights = LossWeights()
    nce: NceOptions = NceOptions()
    focal: FocalOptions = FocalOptions()
    mlpa: MlpaOptions = MlpaOptions()
    ctpc: CtpcOptions = CtpcOptions()
    discriminator: DiscriminatorOptions = DiscriminatorOptions()
    jitter: JitterOptions = JitterOptions()
    optimiser: OptimiserOptions = OptimiserOptions()
    validation: ValidationOptions = ValidationOptions()
    phantoms: PhantomPairOptions = Field(
        PhantomPairOptions(), description="phantoms, where they are the data; split and side follow from the rest"
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        """Refuse an objective without any part."""
        if not any(self.losses.model_dump().values()):
            raise ValueError("losses: at least one weight must be above 0")
        return self
