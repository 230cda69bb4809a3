"""Maps of what spoke for each ordinal margin, for every tile of a slide, at nearly the cost of classifying it.

The method is integrated gradients (Sundararajan, Taly and Yan 2017) over the pooled features, from those of a tile of
glass to those of the tile. A gradient at the tile alone, as Grad-CAM takes it, does not add up to the margin, and often
has the opposite sign.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.conversion import plain_head
from wsi_pipeline.models.head import PLACES, WEIGHTS
from wsi_pipeline.models.ihcnet import CLASSES, TileClassifier

MARGINS = CLASSES - 1
"""1+ against 0, 2+ against 1+, 3+ against 2+: margin k - 1 is logit k minus logit k - 1."""


class MarginMaps:
    """Makes the maps of a classifier's tiles, from the features that classifying them has computed."""

    def __init__(self, network: TileClassifier, glass: Tensor) -> None:
        """Take the head of `network` (eval), and `glass` (C,): the pooled features of a white tile, on any device.

        Raises UsageError for a network in training mode.
        """
        if network.training:
            raise UsageError("explanation maps", "the network is in training mode", "call network.eval() first")
        head = plain_head(network.classifier)
        self._glass = glass.detach().to(torch.float32, copy=True)
        to = self._glass.device
        self._weights = [torch.from_numpy(weight).to(to) for weight in head.weights]
        self._biases = [torch.from_numpy(bias).to(to) for bias in head.biases]
        self._places, self._shares = (torch.from_numpy(values).to(to) for values in (PLACES, WEIGHTS))
        self.glass_margins = np.diff(head.logits(self._glass.cpu().numpy()[np.newaxis]))[0]
        """(3,) float32, logits: the margins of glass, which every value of a map includes."""

    def __call__(self, features: Tensor) -> NDArray[np.float32]:
        """Return a map of each ordinal margin, (B, 3, h, w) float32, logits, of `features` (B, C, h, w).

        `features` is what `network.feature_map` returned, of any precision, on the device of `glass`. With p the mean
        of the features over the h * w positions, p0 that of glass, and g (C,) the gradient d margin / d pooled averaged
        over the straight way from p0 to p, the value at a position with features f is

            margin of glass + g . (f - p0)

        The mean over the positions is the tile's margin. A position that looks like glass has glass's margin. Values
        keep their sign and are never normalised, so that maps of all tiles of a slide share one scale.
        Raises UsageError for features of another shape.
        """
        if features.ndim != 4:
            raise UsageError("explanation maps", f"features {tuple(features.shape)} are not (B, C, h, w)")
        with torch.inference_mode(), torch.autocast(features.device.type, enabled=False):
            flat = features.float().flatten(2)
            gradients = self._path_gradients(flat.mean(dim=2))
            rest = torch.from_numpy(self.glass_margins).to(flat.device) - gradients @ self._glass
            maps = (gradients @ flat + rest[:, :, None]).reshape(*gradients.shape[:2], *features.shape[2:])
        return np.asarray(maps.cpu().numpy(), dtype=np.float32)

    def _path_gradients(self, pooled: Tensor) -> Tensor:
        """Return the averaged gradients, (B, 3, C), of pooled features (B, C); see `Head.path_gradients`."""
        into, between, last = self._weights
        start, end = (each @ into.T + self._biases[0] for each in (self._glass[None], pooled))
        first = start + self._places[:, None, None] * (end - start)
        second = (first * torch.sigmoid(first)) @ between.T + self._biases[1]
        back = ((last[1:] - last[:-1]) * _silu_slope(second)[:, :, None]) @ between
        averaged = torch.einsum("n,nbkh,nbh->bkh", self._shares, back, _silu_slope(first))
        return averaged @ into


def _silu_slope(values: Tensor) -> Tensor:
    """Return the derivative of x sigmoid(x)."""
    sigmoid = torch.sigmoid(values)
    return sigmoid * (1 + values * (1 - sigmoid))
