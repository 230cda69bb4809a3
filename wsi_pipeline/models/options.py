"""Options of networks: which weights, and what runs them. Nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "bf16", "fp16"]
"""Floating-point form in which convolutions are computed."""

Backend = Literal["torch", "openvino"]
"""Library that computes them."""


class ModelOptions(BaseModel):
    """Which networks are used, and how they are run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stainer: str = Field(
        "auto", min_length=1, description="generator for H&E slides: auto, none, or the name of some weights"
    )
    classifier: str = Field(
        "auto", min_length=1, description="classifier of tiles: auto, none, or the name of some weights"
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto (CUDA if there, else cpu), cpu, cuda, cuda:N",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of the convolutions; auto: the quickest of this device that keeps the network's answers"
    )
    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="of classifiers; auto: OpenVINO on processors where installed (generators run on torch)",
    )
    statistics: Literal["slide", "grid"] = Field(
        "slide",
        description="of the full generator's normalisation: one set for the slide, or local interpolated ones",
    )
    batch_tiles: int = Field(
        64, ge=1, le=4096, description="tiles in one static batch on CUDA; processors take fewer, at most 4"
    )
