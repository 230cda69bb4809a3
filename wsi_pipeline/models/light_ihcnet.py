"""Light IHCNet: the same head on an EfficientNet-Lite0 trunk, for machines without a GPU.

Lite0 is EfficientNet-B0 with ReLU6 and without squeeze-and-excitation (Tan & Le 2019; TensorFlow TPU models,
`efficientnet/lite`). Parameters stand in the order of the published network, so its ImageNet weights fit by order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.ihcnet import TileClassifier

STEM_CHANNELS = 32
TRUNK_CHANNELS = 1280
BATCH_NORM_EPS, BATCH_NORM_MOMENTUM = 1e-3, 0.01
"""As in the published network; torch counts momentum from the other end than TensorFlow (0.99)."""


class Stage(NamedTuple):
    """Inverted residual blocks of one resolution; the first block carries the stride."""

    expansion: int
    channels: int
    blocks: int
    kernel: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 3, 1), Stage(6, 24, 2, 3, 2), Stage(6, 40, 2, 5, 2), Stage(6, 80, 3, 3, 2),
    Stage(6, 112, 3, 5, 1), Stage(6, 192, 4, 5, 2), Stage(6, 320, 1, 3, 1),
)  # fmt: skip


def _convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return convolution and normalisation, padded as TensorFlow pads ("SAME"), for even sides."""
    padding = kernel // 2 if stride == 1 else 0
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    if not convolution.weight.is_meta:  # on weights without values it takes torch a second to find nothing to do
        nn.init.kaiming_normal_(convolution.weight)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs, BATCH_NORM_EPS, BATCH_NORM_MOMENTUM)]
    if stride > 1:  # one pixel less at the upper left than at the lower right
        before = (kernel - stride) // 2
        after = kernel - stride - before
        layers.insert(0, nn.ZeroPad2d((before, after, before, after)))
    return layers


class InvertedResidual(nn.Module):
    """Widen by a 1 x 1 convolution, filter each channel, narrow; add the input where the shape allows."""

    def __init__(self, inputs: int, outputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = inputs * stage.expansion
        widen = [*_convolution(inputs, wide), nn.ReLU6(inplace=True)] if stage.expansion > 1 else []
        depthwise = _convolution(wide, wide, stage.kernel, stride, groups=wide)
        self.layers = nn.Sequential(*widen, *depthwise, nn.ReLU6(inplace=True), *_convolution(wide, outputs))
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, outputs, H / stride, W / stride) of `features` (B, inputs, H, W)."""
        filtered: Tensor = self.layers(features)
        return features + filtered if self.adds_input else filtered


def lite_trunk() -> nn.Sequential:
    """Return the EfficientNet-Lite0 trunk: (B, 3, H, W) to (B, 1280, H / 32, W / 32), H and W multiples of 32."""
    layers = [*_convolution(3, STEM_CHANNELS, 3, 2), nn.ReLU6(inplace=True)]
    inputs = STEM_CHANNELS
    for stage in STAGES:
        for number in range(stage.blocks):
            layers.append(InvertedResidual(inputs, stage.channels, stage, stage.stride if number == 0 else 1))
            inputs = stage.channels
    return nn.Sequential(*layers, *_convolution(inputs, TRUNK_CHANNELS), nn.ReLU6(inplace=True))


class LightIHCNet(TileClassifier):
    """EfficientNet-Lite0 trunk with IHCNet's head: 4.2 million parameters."""

    def __init__(self) -> None:
        """Build with random weights."""
        super().__init__(lite_trunk(), TRUNK_CHANNELS)


def trunk_from_published(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published EfficientNet-Lite0 state dict (its 1000-class layer left out) under the trunk's names.

    Raises WeightsError naming the first tensor whose shape does not follow the published order.
    """
    own = lite_trunk().state_dict()
    theirs = {name: tensor for name, tensor in published.items() if not name.startswith("_fc.")}
    if len(theirs) != len(own):
        raise WeightsError("EfficientNet-Lite0 weights", f"hold {len(theirs)} entries instead of {len(own)}")
    renamed = {}
    for (name, wanted), (their_name, tensor) in zip(own.items(), theirs.items(), strict=True):
        if tensor.shape != wanted.shape:
            shapes = f"{tuple(tensor.shape)} instead of {tuple(wanted.shape)}"
            raise WeightsError("EfficientNet-Lite0 weights", f"{their_name!r} has shape {shapes}")
        renamed[name] = tensor
    return renamed
