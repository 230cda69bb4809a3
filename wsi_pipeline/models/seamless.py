"""Seam-free staining: instance normalisation whose statistics follow the place on the slide, not the window.

InstanceNorm makes every pixel depend on the whole window it was computed in, so neighbouring windows differ. Here the
statistics are measured once, on calibration windows anchored to the slide, and interpolated for every pixel; what is
left is a convolutional filter, which gives the same pixels for any cut as long as windows have a halo and lie on the
lattice of the network's subsampling. One anchor gives one set of statistics for the whole slide.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_pipeline.geometry import Box, Size, ceil_div
from wsi_pipeline.models.lane import Returning, device_lane, send
from wsi_pipeline.models.norm_field import Measured, NormField, PositionalNorm, gridded, load_field, save_field
from wsi_pipeline.models.prepared import prepared_generator, with_positional_norms
from wsi_pipeline.models.preprocess import image_pixels
from wsi_pipeline.models.pspstain import SIDE_MULTIPLE, Generator
from wsi_pipeline.models.runtime import Runtime

__all__ = [
    "CALIBRATION_PX",
    "HALO_PX",
    "NormField",
    "ReadBox",
    "SeamlessStainer",
    "load_field",
    "save_field",
    "to_tensor",
]

HALO_PX = 72
"""Half the receptive field of the convolutions (about 135 px), rounded up to the lattice."""

CALIBRATION_PX = 512
"""Side of a calibration window, model px: the crop that the published generator was trained on."""

KEPT_FILTERS = 2
"""Slides whose statistics stay folded into convolutions: 31 MB each for the full generator in fp32."""

ReadBox = Callable[[Box], NDArray[np.uint8]]
"""Returns the RGB pixels (H, W, 3) of a box in model px; what lies outside the slide is white."""


class SeamlessStainer:
    """Stains any box of any slide with the same pixels as any other cut would give.

    Statistics come with every call, so that slides may take turns, or be stained by several threads at once.
    """

    def __init__(self, generator: Generator, runtime: Runtime | None = None) -> None:
        """Take over `generator` (its InstanceNorm layers are replaced); one without them needs no calibration.

        It runs on the device and in the precision of `runtime`, by default fp32 on the processor; statistics are
        measured in fp32 on the same device.
        """
        self._runtime = runtime or Runtime()
        self._runtime.settle()
        self._generator = generator.eval()
        self._norms = with_positional_norms(generator.model)
        generator.to(self._runtime.device).to(memory_format=torch.channels_last)
        self._turn = threading.Lock()  # layers that are not folded hold the statistics of one window
        self._preparing = threading.Lock()
        self._filters: OrderedDict[str, nn.Sequential] = OrderedDict()

    @property
    def needs_calibration(self) -> bool:
        """Whether the generator has normalisation layers whose statistics are not fixed."""
        return bool(self._norms)

    def calibrate(
        self, read: ReadBox, size: Size, has_tissue: Callable[[Box], bool], spacing_px: int | None, most: int = 10**6
    ) -> NormField:
        """Return the statistics around anchors every `spacing_px` model px, or one set for the whole slide.

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
        found = [self._measure(read(box)) if use else None for box, use in zip(boxes, used, strict=True)]
        grid = (rows, columns) if spacing_px else (1, 1)
        return NormField(
            (0.5 * step, 0.5 * step), (float(step), float(step)),
            *(tuple(gridded(found, layer, part, grid) for layer in range(len(self._norms))) for part in (0, 1)),
        )  # fmt: skip

    def stain(self, read: ReadBox, box: Box, field: NormField | None = None) -> NDArray[np.uint8]:
        """Return the stained pixels (H, W, 3) uint8 of `box`, model px; it may have any origin and size.

        `field`: the statistics of this slide, as `calibrate` measured them; without them a generator that needs any
        takes those of the window, which leaves seams.
        """
        left, top = (value // SIDE_MULTIPLE * SIDE_MULTIPLE - HALO_PX for value in (box.x, box.y))
        right, bottom = (ceil_div(value, SIDE_MULTIPLE) * SIDE_MULTIPLE + HALO_PX for value in (box.right, box.bottom))
        window = Box(left, top, right - left, bottom - top)
        rgb = read(window)
        runtime = self._runtime
        layers = self._filter(field)
        with self._given(layers, field, window), device_lane(runtime.device), torch.inference_mode():
            returning = Returning(image_pixels(layers(to_tensor(rgb, runtime.device)))[0])
        x, y = box.x - window.x, box.y - window.y
        return np.asarray(returning.array()[y : y + box.height, x : x + box.width], dtype=np.uint8)

    def _filter(self, field: NormField | None) -> nn.Sequential:
        """Return the generator as it runs with these statistics: folded in, if the slide has one set of them."""
        folded = field if field is not None and field.is_uniform and self._norms else None
        key = folded.digest if folded is not None else ""
        with self._preparing:
            if key not in self._filters:
                while len(self._filters) >= KEPT_FILTERS:
                    self._filters.popitem(last=False)
                self._filters[key] = prepared_generator(self._generator.model, folded, self._runtime)
            self._filters.move_to_end(key)
            return self._filters[key]

    def _measure(self, rgb: NDArray[np.uint8]) -> Measured:
        """Return mean and deviation (C,) of every layer over one window that is normalised by itself."""
        with self._turn, device_lane(self._runtime.device), torch.inference_mode():
            self._generator(to_tensor(rgb, self._runtime.device))
            measured = [norm.measured for norm in self._norms]
            for norm in self._norms:
                norm.measured = None
            return [(values[0].cpu(), values[1].cpu()) for values in measured if values is not None]

    @contextmanager
    def _given(self, layers: nn.Sequential, field: NormField | None, window: Box) -> Iterator[None]:
        """Hand every layer that is not folded its statistics at the pixels of `window`, and take them back."""
        norms = [layer for layer in layers.modules() if isinstance(layer, PositionalNorm)]
        with self._turn if norms else nullcontext():
            try:
                for index, norm in enumerate(norms if field is not None else ()):
                    mean, deviation = cast("NormField", field).at(index, window, norm.scale)
                    norm.given = _placed(mean, self._runtime.device), _placed(deviation, self._runtime.device)
                yield
            finally:
                for norm in norms:
                    norm.given = None


def to_tensor(rgb: NDArray[np.uint8], device: str = "cpu") -> Tensor:
    """Return RGB (H, W, 3) uint8 as (1, 3, H, W) float32 in [-1, 1] on `device`, channels last."""
    return send(rgb, device).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def _placed(values: Tensor, device: str) -> Tensor:
    """Return statistics where the features lie, in the same order in memory."""
    return values.to(device=device, memory_format=torch.channels_last)
