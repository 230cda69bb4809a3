"""Options of classifier training. Presets in `configs/train_classifier_*.yaml` list what differs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.training.data.patches import PatchOptions
from wsi_pipeline.training.data.phantoms import PhantomTileOptions


class ClassifierTraining(BaseModel):
    """How a tile classifier is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(30, ge=1, description="passes over the training data")
    batch_size: int = Field(64, ge=2, description="tiles per step")
    learning_rate: float = Field(3e-4, gt=0, description="top of the schedule; AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    warmup_epochs: float = Field(1.0, ge=0, description="epochs over which the rate rises from 0, in a straight line")
    final_rate_share: float = Field(0.01, ge=0, le=1, description="share of the top rate at the end of the cosine")
    ordinal_weight: float = Field(
        1.0, ge=0, description="weight of the ranked probability score beside cross entropy; 0 switches it off"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of every label spread over all classes, in cross entropy"
    )
    balance: float = Field(
        1.0,
        ge=0,
        le=1,
        description="0: every tile once an epoch; 1: classes equally often; between: as n^(1-balance); not of phantoms",
    )
    augment: bool = Field(True, description="vary geometry and stain of the training tiles (never of validation)")
    patches: PatchOptions = Field(PatchOptions(), description="how patches on disk are cut")
    phantoms: PhantomTileOptions = Field(PhantomTileOptions(), description="phantom tiles, with --data phantoms")
    val_tiles: int = Field(1024, ge=1, description="phantom tiles of validation")
    val_share: float = Field(0.15, gt=0, lt=1, description="share cut for validation where the data set has none")
    test_share: float = Field(0.15, ge=0, lt=1, description="share left untouched where the data set has no test split")
    ema_decay: float = Field(
        0.998, ge=0, lt=1, description="weight of the past in the averaged network; 0 keeps the last step's"
    )
    norm_momentum: float = Field(
        0.1, gt=0, le=1, description="share of a batch in the statistics of BatchNorm (the published Lite0: 0.01)"
    )
    clip_norm: float = Field(1.0, ge=0, description="longest gradient; 0 lets any pass")
    calibrate: bool = Field(True, description="fit a temperature on validation and fold it into the last layer")
    half: bool = Field(True, description="write matrices and kernels in float16, at half the size")
    seed: int = Field(42, ge=0, description="of weights, order and dropout")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the forward pass; auto: mixed on CUDA, fp32 on processors"
    )
    workers: int = Field(0, ge=0, description="processes that read tiles ahead of time")
    checkpoint_steps: int = Field(200, ge=1, description="steps between checkpoints; one more after every epoch")
