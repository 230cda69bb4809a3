"""Focal optical density: how much DAB a pixel holds, on PSPStain's scale, with gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wsi_pipeline.stain.density import StainVectors
from wsi_pipeline.training.stainer.options import FocalOptions

LUMINANCE = (0.2125, 0.7154, 0.0721)
"""Weights of R, G, B in grey, as PSPStain and scikit-image's rgb2gray have them."""

DARKEST = 1 / 255
"""Intensity below which a pixel gets no darker: grey level 1 of 8 bits."""

LARGEST = math.e
"""Focal density of a pixel that lets no light through; PSPStain chooses c in log10(1 / (grey + c)) so."""


class FocalDensity(nn.Module):
    """Network images to focal density.

    Stains are separated with the hematoxylin, DAB and residual directions that the whole program uses, where PSPStain
    separates an eosin that IHC does not have; glass counts as 255.
    """

    unmix_dab: Tensor
    dab: Tensor
    luminance: Tensor

    def __init__(self, options: FocalOptions, vectors: StainVectors | None = None) -> None:
        """Use the program's own stain vectors unless others are given."""
        super().__init__()
        vectors = vectors or StainVectors()
        self.options = options
        self._residual = 10.0 ** -(LARGEST ** (1 / options.exponent))
        direction = torch.tensor(vectors.dab) / torch.linalg.vector_norm(torch.tensor(vectors.dab))
        self.register_buffer("unmix_dab", torch.from_numpy(vectors.unmixing_matrix()[1].copy()), persistent=False)
        self.register_buffer("dab", direction, persistent=False)
        self.register_buffer("luminance", torch.tensor(LUMINANCE), persistent=False)

    def dab_density(self, image: Tensor) -> Tensor:
        """Return DAB density (B, H, W) in OD, never negative, of `image` (B, 3, H, W) in [-1, 1]."""
        od = -torch.log10(((image.float() + 1) / 2).clamp(DARKEST, 1))
        return torch.einsum("bchw,c->bhw", od, self.unmix_dab).clamp_min(0)

    def forward(self, image: Tensor) -> Tensor:
        """Return focal density (B, H, W), 0 to e, of `image` (B, 3, H, W) in [-1, 1]."""
        density = self.dab_density(image) * self.options.gain
        grey = sum(
            weight * 10 ** (-density * absorbed) for weight, absorbed in zip(self.luminance, self.dab, strict=True)
        )
        light = torch.log10(1 / (grey + self._residual))
        return light.clamp_min(1e-6) ** self.options.exponent

    def tumour_mask(self, focal: Tensor) -> Tensor:
        """Return (B, H, W) bool: where `focal` (B, H, W) is dense enough to be stained tumour."""
        return focal.detach() >= self.options.tumour
