"""Statistics of the generator's normalisation layers as a function of the place on the slide."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wsi_pipeline.geometry import Box

EPS = 1e-5
"""torch's InstanceNorm default."""

Measured = list[tuple[Tensor, Tensor]]
"""Mean and deviation (C,) of every normalisation layer over one window."""


@dataclass(frozen=True)
class NormField:
    """Statistics of every normalisation layer at anchors that lie on a regular grid of the slide.

    `origin`, `spacing`: centre of the first anchor and distance between anchors, model px, (x, y). `mean`, `deviation`:
    per layer (C, rows, columns) float32.
    """

    origin: tuple[float, float]
    spacing: tuple[float, float]
    mean: tuple[Tensor, ...]
    deviation: tuple[Tensor, ...]

    @property
    def is_uniform(self) -> bool:
        """Whether the whole slide has one set of statistics."""
        return all(values.shape[1:] == (1, 1) for values in self.mean)

    @cached_property
    def digest(self) -> str:
        """What tells these statistics from others: the hash of every value, 64 hex digits."""
        told = hashlib.sha256(repr((self.origin, self.spacing)).encode())
        for values in (*self.mean, *self.deviation):
            told.update(repr(tuple(values.shape)).encode())
            told.update(values.contiguous().numpy().tobytes())
        return told.hexdigest()

    def at(self, layer: int, window: Box, scale: int) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of a layer, (1, C, h, w) or (1, C, 1, 1), at its pixels in `window`, model px.

        `scale`: model px per px of the layer.
        """
        values = self.mean[layer], self.deviation[layer]
        if self.is_uniform:
            return values[0][None], values[1][None]
        rows, columns = values[0].shape[1:]
        down = _interpolation((window.y, window.height), scale, (self.origin[1], self.spacing[1]), rows)
        across = _interpolation((window.x, window.width), scale, (self.origin[0], self.spacing[0]), columns)
        mean, deviation = (torch.einsum("hr,crs,ws->chw", down, anchors, across)[None] for anchors in values)
        return mean, deviation


class PositionalNorm(nn.Module):
    """Normalises with given statistics instead of the window's own, in float32: (B, C, H, W) to the same shape."""

    def __init__(self, scale: int) -> None:
        """`scale`: model px per px of this layer."""
        super().__init__()
        self.scale = scale
        self.measured: tuple[Tensor, Tensor] | None = None
        self.given: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Normalise; without given statistics measure the window's own, and keep them."""
        precise = features.float()
        if self.given is None:
            mean = precise.mean(dim=(2, 3), keepdim=True)
            deviation = torch.sqrt(precise.var(dim=(2, 3), keepdim=True, unbiased=False) + EPS)
            self.measured = mean[0, :, 0, 0], deviation[0, :, 0, 0]
        else:
            mean, deviation = self.given
        return ((precise - mean) / deviation).to(features.dtype)


def gridded(found: Sequence[Measured | None], layer: int, part: int, grid: tuple[int, int]) -> Tensor:
    """Return one statistic of one layer (C, rows, columns) at the anchors, which come in row order.

    `part`: 0 the mean, 1 the deviation. Anchors without a measurement take the mean of the others.
    """
    mean = torch.stack([window[layer][part] for window in found if window is not None]).mean(dim=0)
    if grid == (1, 1):
        return mean[:, None, None]
    filled = torch.stack([mean if window is None else window[layer][part] for window in found])
    return filled.T.reshape(len(mean), *grid)


def _interpolation(extent: tuple[int, int], scale: int, lattice: tuple[float, float], anchors: int) -> Tensor:
    """Return the weights (length / scale, anchors) of linear interpolation along one axis, constant beyond the ends.

    `extent`: first px and length of the window, model px; `scale`: model px per px of the layer; `lattice`: first
    anchor and spacing, model px.
    """
    first, length = extent
    origin, spacing = lattice
    centre = first + (torch.arange(length // scale, dtype=torch.float64) + 0.5) * scale
    place = ((centre - origin) / spacing).clamp(0, anchors - 1)
    low = place.floor().long().clamp(max=max(anchors - 2, 0))
    share = (place - low)[:, None]
    one_hot = torch.eye(anchors, dtype=torch.float64)
    high = (low + 1).clamp(max=anchors - 1)
    return ((1 - share) * one_hot[low] + share * one_hot[high]).float()


def save_field(field: NormField, path: Path) -> None:
    """Write `field` where workers find it."""
    arrays = {
        f"{kind}_{i}": values.numpy() for kind in ("mean", "deviation") for i, values in enumerate(getattr(field, kind))
    }
    with path.open("wb") as file:
        np.savez(file, origin=field.origin, spacing=field.spacing, **arrays)


def load_field(path: Path) -> NormField:
    """Return the field that `save_field` wrote."""
    with np.load(path) as stored:
        layers = sum(name.startswith("mean_") for name in stored)
        mean, deviation = (
            tuple(torch.from_numpy(stored[f"{kind}_{i}"]) for i in range(layers)) for kind in ("mean", "deviation")
        )
        x, y = (float(value) for value in stored["origin"])
        step_x, step_y = (float(value) for value in stored["spacing"])
    return NormField((x, y), (step_x, step_y), mean, deviation)
