"""Class activation maps of the ordinal margins for every tile of a slide, at nearly the cost of classifying it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.ihcnet import CLASSES, TileClassifier

MARGINS = CLASSES - 1
"""1+ against 0, 2+ against 1+, 3+ against 2+: margin k - 1 is logit k minus logit k - 1."""


def margin_cams(network: TileClassifier, features: Tensor) -> NDArray[np.float32]:
    """Return Grad-CAM of each ordinal margin, (B, 3, h, w) float32, logits, of `features` (B, C, h, w).

    `features` is what `network.feature_map` returned, of any precision and device. With p = mean of the features over
    the h * w positions (B, C) and g = d margin / d p (B, C), the value at a position is the sum over the channels of
    g times the features there. Hence the mean over the positions is g . p, the margin's first-order dependence on the
    features that were pooled; it is not the margin itself, because the head is not linear. Values keep their sign (no
    ReLU) and are never normalised, so that maps of all tiles of a slide share one scale. The gradient goes through
    the head only, in float32. Behind global average pooling Grad-CAM (Selvaraju et al. 2017) equals HiResCAM (Draelos
    and Carin 2020). Raises UsageError for a network in training mode or features of another shape.
    """
    if network.training:
        raise UsageError("class activation maps", "the network is in training mode", "call network.eval() first")
    if features.ndim != 4:
        raise UsageError("class activation maps", f"features {tuple(features.shape)} are not (B, C, h, w)")
    # Leaving inference mode allows gradients; its own tensors must be copied before they take part in them.
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
        maps = features.detach().to(torch.float32, copy=True)
        gradients = _margin_gradients(network, maps.mean(dim=(2, 3)))
        cams = torch.einsum("bkc,bchw->bkhw", gradients, maps)
    return np.asarray(cams.cpu().numpy(), dtype=np.float32)


def _margin_gradients(network: TileClassifier, pooled: Tensor) -> Tensor:
    """Return d margin / d pooled, (B, 3, C) float32, of pooled features (B, C) float32."""
    pooled.requires_grad_()
    head = {name: tensor.detach().clone() for name, tensor in network.classifier.state_dict().items()}
    head = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in head.items()}
    logits = functional_call(network.classifier, head, (pooled,))
    margins = (logits[:, 1:] - logits[:, :-1]).sum(dim=0)  # tiles do not mix in eval, so the sum keeps them apart
    gradients = [
        torch.autograd.grad(margins[number], pooled, retain_graph=number < MARGINS - 1)[0] for number in range(MARGINS)
    ]
    return torch.stack(gradients, dim=1)
