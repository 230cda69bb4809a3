"""CTPC: what tumour looks like in the real image must be what it looks like in the virtual one, wherever it lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 2
"""Rest, stained tumour."""


class Segmenter(nn.Module):
    """A small U-Net that finds the stained tumour of IHC.

    PSPStain loads a five-level one trained beforehand and keeps it fixed; chosen here: three levels, learnt on the
    real images while the generator trains, so that there is no second training.
    """

    def __init__(self, width: int) -> None:
        """Build with random weights, `width` channels on the first level."""
        super().__init__()
        self.first = _block(3, width)
        self.second = _block(width, 2 * width)
        self.third = _block(2 * width, 4 * width)
        self.join_second = _block(6 * width, 2 * width)
        self.join_first = _block(3 * width, width)
        self.head = nn.Conv2d(width, CLASSES, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, width, H, W) and logits (B, 2, H, W) of IHC (B, 3, H, W) in [-1, 1]."""
        first = self.first(image)
        second = self.second(functional.max_pool2d(first, 2))
        third = self.third(functional.max_pool2d(second, 2))
        second = self.join_second(torch.cat((second, _to_size_of(second, third)), 1))
        features = self.join_first(torch.cat((first, _to_size_of(first, second)), 1))
        return features, self.head(features)


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the cross entropy, a scalar, of the segmenter's `logits` (B, 2, H, W) and a tumour mask (B, H, W)."""
    return functional.cross_entropy(logits.float(), mask.long())


def ctpc_loss(features: Tensor, logits: Tensor, masks: Tensor, temperature: float) -> Tensor:
    """Return the cross-image prototype consistency, a scalar.

    `features` (2 B, C, H, W) and `logits` (2 B, 2, H, W) of B virtual images and then their B real ones; `masks`
    (2 B, H, W): where each holds enough DAB. Every pixel is classed by its cosine similarity to the prototypes (mean
    features of rest and of tumour) of the *other* image of its pair, and must come out as its own mask says. Chosen
    here: one softmax, where the published code takes two.
    """
    features, shares = features.float(), logits.float().softmax(1)
    weighted = torch.einsum("bkhw,bchw->bkc", shares, features)
    prototypes = weighted / (shares.sum((2, 3))[..., None] + 1e-5)
    of_other = functional.normalize(torch.cat(prototypes.chunk(2)[::-1]), dim=2)
    alike = torch.einsum("bchw,bkc->bkhw", functional.normalize(features, dim=1), of_other)
    return functional.cross_entropy(alike / temperature, masks.long())


def shrunk(image: Tensor, times: int) -> Tensor:
    """Return `image` (B, C, H, W) averaged over blocks of `times` x `times` px."""
    return functional.avg_pool2d(image, times) if times > 1 else image


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Return two convolutions with BatchNorm and leaky ReLU."""
    layers: list[nn.Module] = []
    for given in (inputs, outputs):
        layers += [nn.Conv2d(given, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


def _to_size_of(large: Tensor, small: Tensor) -> Tensor:
    """Return `small` (B, C, h, w) interpolated to the size of `large`."""
    return functional.interpolate(small, size=large.shape[-2:], mode="bilinear", align_corners=False)
