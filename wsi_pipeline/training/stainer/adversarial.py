"""The adversary: a PatchGAN discriminator and least-squares losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from wsi_pipeline.training.stainer.options import DiscriminatorOptions

WIDEST = 8
"""Channels grow to this multiple of the first layer's (pix2pix)."""


class PatchDiscriminator(nn.Module):
    """IHC (B, 3, H, W) to a map (B, 1, h, w) of how real each patch looks, above 0.5 being real.

    Chosen here: spectral norm keeps it in bounds and there is no InstanceNorm, which would hide from it how much DAB
    an image holds.
    """

    def __init__(self, options: DiscriminatorOptions) -> None:
        """Build with random weights."""
        super().__init__()
        widths = [min(2**level, WIDEST) * options.width for level in range(options.layers)]
        self.halvings = nn.ModuleList(
            spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1))
            for inputs, outputs in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.head = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the map (B, 1, h, w)."""
        for halving in self.halvings:
            image = functional.leaky_relu(halving(image), 0.2)
        verdict: Tensor = self.head(image)
        return verdict


def fools(discriminator: nn.Module, virtual: Tensor) -> Tensor:
    """Return the generator's least-squares loss, a scalar: how far virtual images are from being taken for real."""
    verdict: Tensor = discriminator(virtual)
    return (verdict.float() - 1).square().mean()


def tells_apart(discriminator: nn.Module, virtual: Tensor, real: Tensor) -> Tensor:
    """Return the discriminator's least-squares loss, a scalar."""
    verdict: Tensor = discriminator(torch.cat((virtual.detach(), real)))
    on_virtual, on_real = verdict.float().chunk(2)
    return (on_virtual.square().mean() + (on_real - 1).square().mean()) / 2
