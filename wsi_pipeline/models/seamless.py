"""Seam-free staining: instance normalisation whose statistics follow the place on the slide, not the window.

InstanceNorm makes every pixel depend on the whole window it was computed in, so neighbouring windows differ. Here the
statistics are measured once, on calibration windows anchored to the slide, and interpolated for every pixel; what is
left is a convolutional filter, which gives the same pixels for any cut as long as windows have a halo and lie on the
lattice of the network's subsampling. One anchor gives one set of statistics for the whole slide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.models.preprocess import image_pixels
from wsi_pipeline.models.pspstain import SIDE_MULTIPLE, BlurDown, BlurUp, Generator, ResidualBlock

HALO_PX = 72
"""Half the receptive field of the convolutions (about 135 px), rounded up to the lattice."""

CALIBRATION_PX = 512
"""Side of a calibration window, model px: the crop that the published generator was trained on."""

EPS = 1e-5
"""torch's InstanceNorm default."""

Measured = list[tuple[Tensor, Tensor]]
"""Mean and deviation (C,) of every normalisation layer over one window."""

ReadBox = Callable[[Box], NDArray[np.uint8]]
"""Returns the RGB pixels (H, W, 3) of a box in model px; what lies outside the slide is white."""


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


class PositionalNorm(nn.Module):
    """Normalises with given statistics instead of the window's own: (B, C, H, W) to the same shape."""

    def __init__(self, scale: int) -> None:
        """`scale`: model px per px of this layer."""
        super().__init__()
        self.scale = scale
        self.measured: tuple[Tensor, Tensor] | None = None
        self.given: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Normalise; without given statistics measure the window's own, and keep them."""
        if self.given is None:
            mean = features.mean(dim=(2, 3), keepdim=True)
            deviation = torch.sqrt(features.var(dim=(2, 3), keepdim=True, unbiased=False) + EPS)
            self.measured = mean[0, :, 0, 0], deviation[0, :, 0, 0]
            return (features - mean) / deviation
        mean, deviation = self.given
        return (features - mean) / deviation


class SeamlessStainer:
    """Stains any box of a slide with the same pixels as any other cut would give."""

    def __init__(self, generator: Generator) -> None:
        """Take over `generator` (its InstanceNorm layers are replaced); one without them needs no calibration."""
        self._generator = generator.eval()
        self._norms = list(_replace_norms(generator.model))
        self._field: NormField | None = None

    @property
    def needs_calibration(self) -> bool:
        """Whether the generator has normalisation layers whose statistics are not fixed."""
        return bool(self._norms)

    def calibrate(
        self, read: ReadBox, size: Size, has_tissue: Callable[[Box], bool], spacing_px: int | None, most: int = 10**6
    ) -> NormField:
        """Measure the statistics around anchors every `spacing_px` model px, or one set for the whole slide.

        `size` is the slide's, model px. Anchors without tissue take the mean of the others, so that glass decides
        nothing. With `spacing_px` None the slide has a single set of statistics, from at most `most` windows spread
        evenly over the tissue.
        """
        step = spacing_px or CALIBRATION_PX
        columns, rows = max(ceil_div(size.width, step), 1), max(ceil_div(size.height, step), 1)
        boxes = [
            Box(int((c + 0.5) * step) - CALIBRATION_PX // 2, int((r + 0.5) * step) - CALIBRATION_PX // 2,
                CALIBRATION_PX, CALIBRATION_PX)
            for r in range(rows) for c in range(columns)
        ]  # fmt: skip
        used = [has_tissue(box) for box in boxes]
        if not any(used):
            used = [True] * len(boxes)
        if spacing_px is None:
            filled = np.flatnonzero(used)
            kept = set(filled[np.unique(np.linspace(0, len(filled) - 1, min(most, len(filled))).astype(int))].tolist())
            used = [index in kept for index in range(len(boxes))]
        self._give(None)
        found = [self._measure(read(box)) if use else None for box, use in zip(boxes, used, strict=True)]
        grid = (rows, columns) if spacing_px else (1, 1)
        self._field = NormField(
            (0.5 * step, 0.5 * step), (float(step), float(step)),
            *(tuple(_gridded(found, layer, part, grid) for layer in range(len(self._norms))) for part in (0, 1)),
        )  # fmt: skip
        return self._field

    def use(self, field: NormField) -> None:
        """Take statistics that were measured before, by this process or another."""
        self._field = field

    def stain(self, read: ReadBox, box: Box) -> NDArray[np.uint8]:
        """Return the stained pixels (H, W, 3) uint8 of `box`, model px; it may have any origin and size."""
        left, top = (value // SIDE_MULTIPLE * SIDE_MULTIPLE - HALO_PX for value in (box.x, box.y))
        right, bottom = (ceil_div(value, SIDE_MULTIPLE) * SIDE_MULTIPLE + HALO_PX for value in (box.right, box.bottom))
        window = Box(left, top, right - left, bottom - top)
        self._give(window)
        with torch.inference_mode():
            stained = image_pixels(self._generator(to_tensor(read(window))))[0].cpu().numpy()
        x, y = box.x - window.x, box.y - window.y
        return np.asarray(stained[y : y + box.height, x : x + box.width], dtype=np.uint8)

    def _measure(self, rgb: NDArray[np.uint8]) -> Measured:
        """Return mean and deviation (C,) of every layer over one window that is normalised by itself."""
        with torch.inference_mode():
            self._generator(to_tensor(rgb))
        return [norm.measured for norm in self._norms if norm.measured is not None]

    def _give(self, window: Box | None) -> None:
        """Hand every layer its statistics at the pixels of `window`, or none of them."""
        field = self._field
        for index, norm in enumerate(self._norms):
            if window is None or field is None:
                norm.given = None
                continue
            weights = [
                _interpolation(first, length, norm.scale, origin, spacing, anchors)
                for first, length, origin, spacing, anchors in zip(
                    (window.y, window.x), (window.height, window.width), field.origin[::-1], field.spacing[::-1],
                    field.mean[index].shape[1:], strict=True,
                )
            ]  # fmt: skip
            maps = (_spread(values, *weights) for values in (field.mean[index], field.deviation[index]))
            norm.given = next(maps), next(maps)


def use_one_thread() -> None:
    """Compute on one thread: the workers are the parallelism, and sums in one order give the same pixels anywhere."""
    torch.set_num_threads(1)


def to_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """Return RGB (H, W, 3) uint8 as (1, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def _replace_norms(layers: nn.Sequential) -> Iterator[PositionalNorm]:
    """Replace every InstanceNorm by a PositionalNorm of its layer's scale, and yield them in the order they run."""
    scale = 1
    for index, layer in enumerate(layers):
        if isinstance(layer, BlurDown):
            scale *= 2
        elif isinstance(layer, BlurUp):
            scale //= 2
        elif isinstance(layer, nn.InstanceNorm2d):
            layers[index] = norm = PositionalNorm(scale)
            yield norm
        elif isinstance(layer, ResidualBlock):
            for inner, part in enumerate(layer.conv_block):
                if isinstance(part, nn.InstanceNorm2d):
                    layer.conv_block[inner] = norm = PositionalNorm(scale)
                    yield norm


def _gridded(found: Sequence[Measured | None], layer: int, part: int, grid: tuple[int, int]) -> Tensor:
    """Return one statistic of one layer (C, rows, columns) at the anchors, which come in row order.

    `part`: 0 the mean, 1 the deviation. Anchors without a measurement take the mean of the others.
    """
    mean = torch.stack([window[layer][part] for window in found if window is not None]).mean(dim=0)
    if grid == (1, 1):
        return mean[:, None, None]
    filled = torch.stack([mean if window is None else window[layer][part] for window in found])
    return filled.T.reshape(len(mean), *grid)


def _interpolation(first: int, length: int, scale: int, origin: float, spacing: float, anchors: int) -> Tensor:
    """Return the weights (length / scale, anchors) of linear interpolation along one axis, constant beyond the ends.

    `first`, `length`: the window, model px; `scale`: model px per px of the layer.
    """
    centre = first + (torch.arange(length // scale, dtype=torch.float64) + 0.5) * scale
    place = ((centre - origin) / spacing).clamp(0, anchors - 1)
    low = place.floor().long().clamp(max=max(anchors - 2, 0))
    share = (place - low)[:, None]
    one_hot = torch.eye(anchors, dtype=torch.float64)
    high = (low + 1).clamp(max=anchors - 1)
    return ((1 - share) * one_hot[low] + share * one_hot[high]).float()


def _spread(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return (1, C, h, w) of anchor `values` (C, R, S) with weights `rows` (h, R) and `columns` (w, S)."""
    if values.shape[1:] == (1, 1):
        return values[None]
    return torch.einsum("hr,crs,ws->chw", rows, values, columns)[None]


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
