"""Settings of a training of CellNet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CellTraining(BaseModel):
    """Design choices; the defaults made the shipped weights, configs/train_cells_NAME.yaml say what differs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(4200, ge=1, description="optimiser steps")
    batch_size: int = Field(8, ge=1, description="windows in a step")
    window_px: int = Field(192, ge=64, multiple_of=8, description="side of a window, px at 0.5 um")
    scenes: int = Field(140, ge=1, description="phantoms that windows are cut from")
    scene_px: int = Field(576, ge=256, description="side of a phantom, px of its own, about 0.5 um")
    learning_rate: float = Field(3e-3, gt=0, description="top of the schedule")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps over which it rises")
    final_share: float = Field(0.01, ge=0, le=1, description="share of the top at the end")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")
    ema_decay: float = Field(0.99, ge=0, lt=1, description="weight of the past in the averaged network")
    clip_norm: float = Field(5.0, ge=0, description="longest gradient; 0: any")
    real_share: float = Field(0.25, ge=0, lt=1, description="share of windows from real tissue, where there is any")
    drawn_share: float = Field(0.37, ge=0, lt=1, description="share of windows from phantoms; the rest are recoloured")
    checkpoint_steps: int = Field(100, ge=1, description="steps between two checkpoints")
    seed: int = Field(0, ge=0, description="of everything that is random")
