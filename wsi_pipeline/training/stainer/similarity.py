"""Likeness of paired images that tolerates small shifts: L1 over a Gaussian pyramid, and MS-SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PYRAMID_WEIGHTS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the levels from fine to coarse (ASP and PSPStain): sections are not aligned to the pixel, so coarse ones count."""

BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales from fine to coarse (Wang, Simoncelli and Bovik 2003)."""

SSIM_TAPS = 11
SSIM_SIGMA = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
"""Window and constants of SSIM for values 0 to 1 (Wang et al. 2004)."""

LEAST = 1e-4
"""Contrast terms below it are raised to it: powers of negative numbers do not exist."""


def pyramid_l1(virtual: Tensor, real: Tensor) -> Tensor:
    """Return the mean over levels of weighted L1, a scalar, of two images (B, 3, H, W); small images have fewer levels.

    The difference is taken first: blurring is linear, so one pyramid does.
    """
    difference, levels = virtual - real, []
    for weight in PYRAMID_WEIGHTS[:-1]:
        if min(difference.shape[-2:]) < len(BINOMIAL):
            break
        difference = _blurred(difference, _taps(BINOMIAL, difference))
        levels.append(weight * difference.abs().mean())
        difference = difference[..., ::2, ::2]
    levels.append(PYRAMID_WEIGHTS[-1] * difference.abs().mean())
    return torch.stack(levels).mean()


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return structural similarity per image (B,) of two images (B, C, H, W) in 0 to 1, at least 11 px wide."""
    luminance, contrast = _ssim_maps(first, second)
    return (luminance * contrast).mean((1, 2, 3))


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Return multi-scale SSIM, a scalar (mean over the batch), of two images (B, C, H, W) in 0 to 1.

    As many of the five scales as the image has room for, their weights rescaled to sum to 1.
    """
    room = [scale for scale in range(len(MS_SSIM_WEIGHTS)) if min(first.shape[-2:]) >> scale >= SSIM_TAPS]
    weights = MS_SSIM_WEIGHTS[: len(room)]
    product = first.new_ones(first.shape[0])
    for scale, weight in enumerate(weights):
        luminance, contrast = _ssim_maps(first, second)
        last = scale == len(weights) - 1
        term = (luminance * contrast if last else contrast).mean((1, 2, 3))
        product = product * term.clamp_min(LEAST) ** (weight / sum(weights))
        if not last:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.mean()


def _ssim_maps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM's luminance term, and its contrast and structure term, each (B, C, h, w)."""
    distances = torch.arange(SSIM_TAPS) - SSIM_TAPS // 2
    taps = _taps(torch.exp(-(distances**2) / (2 * SSIM_SIGMA**2)).tolist(), first)
    stacked = torch.cat((first, second, first * first, second * second, first * second))
    mean_1, mean_2, square_1, square_2, product = _filtered(stacked, taps).chunk(5)
    luminance = (2 * mean_1 * mean_2 + SSIM_C1) / (mean_1**2 + mean_2**2 + SSIM_C1)
    spread = square_1 - mean_1**2 + square_2 - mean_2**2
    return luminance, (2 * (product - mean_1 * mean_2) + SSIM_C2) / (spread + SSIM_C2)


def _blurred(image: Tensor, taps: Tensor) -> Tensor:
    """Return `image` (B, C, H, W) blurred, of the same size."""
    border = len(taps) // 2
    return _filtered(functional.pad(image, (border,) * 4, mode="reflect"), taps)


def _filtered(image: Tensor, taps: Tensor) -> Tensor:
    """Return `image` (B, C, H, W) filtered along both axes with `taps` (n,), n - 1 px smaller.

    All planes are channels of one depthwise convolution, ten times faster on a processor than planes in a batch.
    """
    planes = image.shape[0] * image.shape[1]
    kernel = taps.expand(planes, 1, -1)
    down = functional.conv2d(image.reshape(1, planes, *image.shape[2:]), kernel[..., None], groups=planes)
    across = functional.conv2d(down, kernel[:, :, None], groups=planes)
    return across.reshape(*image.shape[:2], *across.shape[2:])


def _taps(values: list[float] | tuple[float, ...], like: Tensor) -> Tensor:
    """Return filter taps (n,) that sum to 1, on the device and in the type of `like`."""
    taps = torch.tensor(values, dtype=like.dtype, device=like.device)
    return taps / taps.sum()
