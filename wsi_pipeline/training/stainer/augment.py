"""From a batch of pairs to what the networks see: the same crop and orientation for both, jitter for the H&E alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.loop.batches import Batch
from wsi_pipeline.training.stainer.focal import LUMINANCE
from wsi_pipeline.training.stainer.options import JitterOptions


def augmented(batch: Batch, crop_px: int, jitter: JitterOptions, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return H&E and IHC, each (B, 3, crop, crop) float32 in [-1, 1], of a batch of pairs.

    Crop, quarter turns and mirror image are drawn for every pair. Raises UsageError for pairs without H&E, or smaller
    than the crop.
    """
    he = paired_he(batch)
    height, width = batch.rgb.shape[1:3]
    if min(height, width) < crop_px:
        problem = f"{width} x {height} px is smaller than the crop of {crop_px} px"
        raise UsageError(batch.groups[0], problem, "lower crop_px")
    seen, wanted = [], []
    for virtual_of, real in zip(he, batch.rgb, strict=True):
        y, x = (int(rng.integers(room + 1)) for room in (height - crop_px, width - crop_px))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        pair = torch.stack((virtual_of, real))[:, y : y + crop_px, x : x + crop_px].permute(0, 3, 1, 2).float() / 255
        pair = torch.rot90(pair, turns, (2, 3))
        pair = pair.flip(3) if mirrored else pair
        seen.append(_jittered(pair[0], jitter, rng))
        wanted.append(pair[1])
    return torch.stack(seen) * 2 - 1, torch.stack(wanted) * 2 - 1


def paired_he(batch: Batch) -> Tensor:
    """Return the batch's H&E (B, H, W, 3) uint8. Raises UsageError when a sample has none."""
    if batch.he is None:
        raise UsageError(", ".join(sorted(set(batch.groups))), "has a sample without H&E", "a stainer needs pairs")
    return batch.he


def _jittered(image: Tensor, jitter: JitterOptions, rng: np.random.Generator) -> Tensor:
    """Return `image` (3, H, W) in 0 to 1 with other brightness, contrast and saturation, as in torchvision."""
    brightness, contrast, saturation = (
        float(rng.uniform(1 - most, 1 + most)) for most in (jitter.brightness, jitter.contrast, jitter.saturation)
    )
    image = (image * brightness).clamp(0, 1)
    image = _between(_grey(image).mean(), image, contrast)
    return _between(_grey(image), image, saturation)


def _grey(image: Tensor) -> Tensor:
    """Return the grey values (1, H, W) of `image` (3, H, W)."""
    return (image * torch.tensor(LUMINANCE)[:, None, None]).sum(0, keepdim=True)


def _between(plain: Tensor, image: Tensor, share: float) -> Tensor:
    """Return the mixture of `plain` and `image`, which a share above 1 takes beyond the image; 0 to 1."""
    return (plain + (image - plain) * share).clamp(0, 1)
