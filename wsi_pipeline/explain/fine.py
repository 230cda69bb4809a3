"""Class activation maps of one tile at a finer stride: they need a backward pass through part of the trunk."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_pipeline.errors import UsageError
from wsi_pipeline.explain.cam import MARGINS
from wsi_pipeline.models.ihcnet import IHCNet, TileClassifier

Method = Literal["hirescam", "gradcam"]
"""HiResCAM shows each position's own gradient x activation; Grad-CAM averages the gradient over the map first."""


class Layer(NamedTuple):
    """A layer whose output can be shown: its name in the trunk, and its stride in network input px."""

    module: str
    stride: int


DENSENET_LAYERS = {
    "denseblock2": Layer("denseblock2", 8), "denseblock3": Layer("denseblock3", 16),
    "denseblock4": Layer("denseblock4", 32),
}  # fmt: skip
"""The dense blocks of torchvision's DenseNet201."""

LITE_LAYERS = {"stage3": Layer("8", 8), "stage5": Layer("14", 16), "stage7": Layer("19", 32)}
"""Last blocks of EfficientNet-Lite0's stages before the next stride, or the end; the stem is 0-3, stage 1 is 4."""

FINE_STRIDE = 16
"""Stride of the layer shown unless another is asked for: half of the pooled map's 32."""


def layers_of(network: TileClassifier) -> dict[str, Layer]:
    """Return the layers of `network` that can be shown, by the names that people use."""
    return DENSENET_LAYERS if isinstance(network, IHCNet) else LITE_LAYERS


def default_layer(network: TileClassifier) -> str:
    """Return the name of the layer of stride 16."""
    return next(name for name, layer in layers_of(network).items() if layer.stride == FINE_STRIDE)


def fine_cam(
    network: TileClassifier, tile_input: Tensor, layer: str, margin: int, method: Method = "hirescam"
) -> NDArray[np.float32]:
    """Return the signed map (h, w) float32, logits, of `margin` (0: 1+ against 0, to 2: 3+ against 2+) at `layer`.

    `tile_input` (1, 3, H, W) float32 as `network_input` gives it; h = H / stride. Values are gradient x activation
    summed over the channels and multiplied by h * w: their mean over the positions is the margin's first-order
    dependence on that layer (for "gradcam" on its mean), not the margin; maps of all layers share one scale.
    Raises UsageError for an unknown layer or margin, a batch, or a network in training mode.
    """
    known = layers_of(network)
    if layer not in known:
        raise UsageError("--layer", f"{layer!r} is no layer to show", f"choose one of {', '.join(known)}")
    if not 0 <= margin < MARGINS:
        raise UsageError("margin", f"{margin} is not one of 0 to {MARGINS - 1}")
    if network.training or tile_input.ndim != 4 or tile_input.shape[0] != 1:
        raise UsageError("fine_cam", f"takes one tile and a network in eval, not {tuple(tile_input.shape)}")
    module = network.backbone.get_submodule(known[layer].module)
    with torch.inference_mode(mode=False), torch.enable_grad():
        # weights are frozen, so the gradient needs an input that asks for one
        tile = tile_input.detach().to(torch.float32, copy=True).requires_grad_()
        attribution = _attribution(network, module, tile, margin, method)
    return np.asarray((attribution * attribution.numel()).cpu().numpy(), dtype=np.float32)


def _attribution(network: TileClassifier, module: nn.Module, tile: Tensor, margin: int, method: Method) -> Tensor:
    """Return captum's attribution (h, w) at the output of `module`."""

    def answer(tiles: Tensor) -> Tensor:
        logits = network(tiles)
        difference: Tensor = logits[:, margin + 1] - logits[:, margin]
        return difference

    if method == "gradcam":
        attribution: Tensor = LayerGradCam(answer, module).attribute(tile, relu_attributions=False)
    else:
        attribution = LayerGradientXActivation(answer, module).attribute(tile).sum(dim=1)
    return attribution.detach().reshape(attribution.shape[-2:])
