"""Tile classifiers with seeded random weights and statistics as training would leave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from wsi_pipeline.models.ihcnet import TileClassifier

Build = Callable[..., "TileClassifier"]


@pytest.fixture(scope="session")
def classifier() -> Build:
    """Return a function that builds "ihcnet" or "ihcnet-light" in eval, without gradients, the same for one seed."""

    def made(architecture: str, *, features_relu: bool = False, seed: int = 5) -> TileClassifier:
        import torch  # noqa: PLC0415

        from wsi_pipeline.models.architectures import build  # noqa: PLC0415 - needs torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(architecture, features_relu=features_relu)
            for layer in network.modules():
                if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                    layer.running_mean.uniform_(-0.2, 0.2)
                    layer.running_var.uniform_(0.5, 1.5)
                    layer.weight.data.uniform_(0.7, 1.3)
                    layer.bias.data.uniform_(-0.2, 0.2)
            network.classifier[-1].weight.data *= 20  # logits of a few units, as a trained head gives
        return network.eval().requires_grad_(requires_grad=False)

    return made
