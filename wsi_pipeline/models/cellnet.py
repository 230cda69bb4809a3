"""CellNet: a small encoder and decoder that answers for every pixel whether it is nucleus, wall and epithelium."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_pipeline.models.cell_network import CHANNELS

WIDTHS = (12, 24, 40, 64)
"""Channels at full, half, quarter and eighth resolution: 205,012 weights, 10,000 multiplications per pixel."""


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution of 3 x 3 with BatchNorm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class CellNet(nn.Module):
    """Takes optical density (N, 3, H, W) at 0.5 um/px, H and W multiples of 8; gives CHANNELS (N, 4, H, W)."""

    def __init__(self) -> None:
        """Draw random weights."""
        super().__init__()
        full, half, quarter, eighth = WIDTHS
        self.stem = _block(3, full)
        self.down1 = nn.Sequential(_block(full, half, 2), _block(half, half))
        self.down2 = nn.Sequential(_block(half, quarter, 2), _block(quarter, quarter), _block(quarter, quarter))
        self.down3 = nn.Sequential(
            _block(quarter, eighth, 2),
            _block(eighth, eighth, 1, 2),
            _block(eighth, eighth, 1, 4),
            _block(eighth, eighth),
        )
        self.across3, self.up3 = nn.Conv2d(eighth, quarter, 1), _block(quarter, quarter)
        self.across2, self.up2 = nn.Conv2d(quarter, half, 1), _block(half, half)
        self.across1, self.up1 = nn.Conv2d(half, full, 1), _block(full, full)
        self.head = nn.Conv2d(full, len(CHANNELS), 1)

    def forward(self, density: Tensor) -> Tensor:
        """Return logit of nucleus, distance, logit of wall, logit of epithelium."""
        full = self.stem(density)
        half = self.down1(full)
        quarter = self.down2(half)
        eighth = self.down3(quarter)
        quarter = self.up3(quarter + _twice(self.across3(eighth)))
        half = self.up2(half + _twice(self.across2(quarter)))
        full = self.up1(full + _twice(self.across1(half)))
        answer: Tensor = self.head(full)
        return answer


def _twice(image: Tensor) -> Tensor:
    """Return the image at twice its size, bilinear."""
    return functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


def folded(network: CellNet) -> CellNet:
    """Return a copy in eval with BatchNorm folded into the convolutions, so that it is a function of position alone."""
    copied: CellNet = copy.deepcopy(network)
    copied.eval()
    for block in copied.modules():
        if isinstance(block, nn.Sequential) and isinstance(block[0], nn.Conv2d):
            norm: Any = block[1]
            block[0] = nn.utils.fuse_conv_bn_eval(block[0], norm)
            block[1] = nn.Identity()
    return copied


def example() -> Tensor:
    """Return an input for tracing, neither square nor of one size with anything."""
    return torch.rand(1, len("RGB"), 64, 96, generator=torch.Generator().manual_seed(1))
