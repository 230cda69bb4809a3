"""The PSPStain generator (H&E to HER2 IHC) and its light form.

A ResNet generator with antialiased sampling, as CUT published it (Park et al. 2020) and PSPStain and ASP train it. The
numbers of the layers in `model` are those of their checkpoints. Input and output lie in [-1, 1]; sides are multiples
of 4. The convolutions reach about 68 px to each side, so a halo of 72 px makes them exact.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_pipeline.errors import UsageError

WIDTH = 64
"""Channels after the first convolution of the published generator (its option `ngf`)."""

LIGHT_WIDTH = 16
"""Channels of the light generator: 14.8 times fewer operations than the published one."""

BLOCKS = 6
SIDE_MULTIPLE = 4
"""Two halvings; other sides would come back with another size."""

SMALLEST_SIDE = 8
"""Below it the reflected border is wider than the image, px."""

Norm = Literal["instance", "batch", "folded"]
"""What follows a convolution: statistics of the window, fixed ones, or nothing (folded into the convolution)."""


def _filter(taps: tuple[int, ...], gain: float, channels: int) -> Tensor:
    """Return a separable low-pass filter (channels, 1, n, n) whose sum is `gain`."""
    row = torch.tensor(taps, dtype=torch.float32)
    square = row[:, None] * row[None, :]
    return (square / square.sum() * gain).repeat(channels, 1, 1, 1)


class BlurDown(nn.Module):
    """Binomial blur, then every second pixel (Zhang 2019)."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", _filter((1, 2, 1), 1, channels))

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, H / 2, W / 2) of `image` (B, C, H, W)."""
        padded = functional.pad(image, (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.filt, stride=2, groups=self.filt.shape[0])


class BlurUp(nn.Module):
    """Twice the size, interpolated with [1, 3, 3, 1]."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", _filter((1, 3, 3, 1), 4, channels))

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, 2 H, 2 W) of `image` (B, C, H, W)."""
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        groups = self.filt.shape[0]
        return functional.conv_transpose2d(padded, self.filt, stride=2, padding=2, groups=groups)[:, :, 1:-1, 1:-1]


def _norm(kind: Norm, channels: int) -> nn.Module:
    """Return the layer after a convolution."""
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.Identity()


def _convolution(inputs: int, outputs: int, norm: Norm) -> list[nn.Module]:
    """Return a zero-padded 3 x 3 convolution, its norm and ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), _norm(norm, outputs), nn.ReLU(inplace=True)]


class ResidualBlock(nn.Module):
    """x + f(x), f being two reflect-padded 3 x 3 convolutions."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(norm, channels), nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), _norm(norm, channels),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Return the same shape, (B, C, H, W)."""
        change: Tensor = self.conv_block(features)
        return features + change


class Generator(nn.Module):
    """H&E to IHC, (B, 3, H, W) in [-1, 1] to the same shape; every norm follows a convolution that has a bias."""

    def __init__(self, width: int = WIDTH, norm: Norm = "instance") -> None:
        """Build with random weights: PSPStain by default, the light one with LIGHT_WIDTH and "batch" or "folded"."""
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), _norm(norm, width), nn.ReLU(inplace=True)]
        for inputs in (width, 2 * width):
            layers += [*_convolution(inputs, 2 * inputs, norm), BlurDown(2 * inputs)]
        layers += [ResidualBlock(4 * width, norm) for _ in range(BLOCKS)]
        for inputs in (4 * width, 2 * width):
            layers += [BlurUp(inputs), *_convolution(inputs, inputs // 2, norm)]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())
        for layer in self.model[:-2].modules():
            if isinstance(layer, nn.Conv2d):  # torch's own scale dies out over 18 layers where no norm restores it
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Return the stained image (B, 3, H, W) in [-1, 1]. Raises UsageError for sides that are no multiple of 4."""
        _check_sides(image.shape[-1], image.shape[-2])
        stained: Tensor = self.model(image)
        return stained


def _check_sides(width: int, height: int) -> None:
    """Raise UsageError for an image (px) that would come back with another size, or is smaller than its border."""
    if width % SIDE_MULTIPLE or height % SIDE_MULTIPLE or min(width, height) < SMALLEST_SIDE:
        problem = f"{width} x {height} px: sides must be multiples of {SIDE_MULTIPLE} px, at least {SMALLEST_SIDE}"
        raise UsageError("staining window", problem)
