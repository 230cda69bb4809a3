"""MLPA: virtual IHC shall hold as much DAB as the real one, over the image, by density and by block."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsi_pipeline.training.stainer.focal import LARGEST
from wsi_pipeline.training.stainer.options import MlpaOptions


def mlpa_loss(virtual: Tensor, real: Tensor, floor: float, options: MlpaOptions) -> Tensor:
    """Return the multi-level protein awareness loss, a scalar, of two maps of focal density (B, H, W).

    The sum of three squared differences, each a mean over the batch: of global means (where they differ by more than
    the tolerance), of histograms (summed over bins) and of block means. Chosen here: pixels share themselves between
    the two nearest bins, so that the histogram has a gradient everywhere (PSPStain's bins are hard).
    """
    dense, real_dense = (torch.where(focal < floor, 0.0, focal) for focal in (virtual, real))
    mean, real_mean = dense.mean((1, 2)), real_dense.mean((1, 2))
    outside = (mean - real_mean).abs() > options.tolerance * real_mean
    of_means = torch.where(outside, (mean - real_mean) ** 2, 0.0).mean()
    of_bins = (_histogram(virtual, options.bins) - _histogram(real, options.bins)).square().sum(1).mean()
    blocks, real_blocks = (
        functional.adaptive_avg_pool2d(focal[:, None], options.blocks) for focal in (dense, real_dense)
    )
    return of_means + of_bins + functional.mse_loss(blocks, real_blocks)


def _histogram(focal: Tensor, bins: int) -> Tensor:
    """Return (B, bins): the focal density found in each bin, per pixel of the image, as PSPStain weighs it."""
    flat = focal.flatten(1)
    place = (flat * (bins / LARGEST) - 0.5).clamp(0, bins - 1)  # 0 is the middle of the first bin
    low = place.detach().floor().clamp_max(bins - 2).long()
    upper = place - low
    found = flat.new_zeros(flat.shape[0], bins)
    found = found.scatter_add(1, low, flat * (1 - upper)).scatter_add(1, low + 1, flat * upper)
    return found / flat.shape[1]
