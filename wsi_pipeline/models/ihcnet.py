"""IHCNet: HER2 class of an IHC tile, from a DenseNet201 trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 4
HIDDEN = (512, 256)
DROPOUT = 0.3
DENSENET_CHANNELS = 1920


class TileClassifier(nn.Module):
    """A convolutional trunk, global average pooling and a small head; the order of the logits is 0, 1+, 2+, 3+."""

    def __init__(self, backbone: nn.Module, channels: int, *, features_relu: bool = False) -> None:
        """Put a fresh head on `backbone`, which turns (B, 3, H, W) into (B, `channels`, H / 32, W / 32)."""
        super().__init__()
        self.backbone = backbone
        self.features_relu = features_relu
        first, second = HIDDEN
        self.classifier = nn.Sequential(
            nn.Linear(channels, first), nn.BatchNorm1d(first), nn.SiLU(), nn.Dropout(DROPOUT),
            nn.Linear(first, second), nn.BatchNorm1d(second), nn.SiLU(), nn.Dropout(DROPOUT),
            nn.Linear(second, CLASSES),
        )  # fmt: skip

    def feature_map(self, tiles: Tensor) -> Tensor:
        """Return the features that are pooled, (B, C, H / 32, W / 32), of normalised `tiles` (B, 3, H, W)."""
        features: Tensor = self.backbone(tiles)
        return torch.relu(features) if self.features_relu else features

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (B, 4) of a feature map (B, C, h, w)."""
        scores: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return scores

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the logits (B, 4) of normalised `tiles` (B, 3, H, W); H and W multiples of 32."""
        return self.logits(self.feature_map(tiles))


class IHCNet(TileClassifier):
    """DenseNet201 trunk without ReLU after its last normalisation, unless `features_relu` (weights from Keras)."""

    def __init__(self, *, features_relu: bool = False) -> None:
        """Build with random weights."""
        from torchvision.models import densenet201  # noqa: PLC0415 - takes a second, and the light networks need none

        super().__init__(densenet201(weights=None).features, DENSENET_CHANNELS, features_relu=features_relu)
