"""Between slide pixels and network values, on whatever device the pixels lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import Manifest


def network_input(tiles: Tensor, manifest: Manifest) -> Tensor:
    """Return `tiles` (B, H, W, 3) uint8 RGB as network input (B, 3, h, w) float32, resized and normalised.

    A classifier's tiles are `tile_px` wide and come out `input_px` wide; a generator's windows keep their size.
    Raises UsageError for other pixels than the manifest describes.
    """
    if tiles.dtype != torch.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
        raise UsageError("tiles", f"{tuple(tiles.shape)} {tiles.dtype} is not (B, H, W, 3) torch.uint8")
    image = tiles.permute(0, 3, 1, 2).float() / 255
    if manifest.is_classifier:
        side, wanted = manifest.tile_px, manifest.input_px
        if tiles.shape[1:3] != (side, side):
            raise UsageError("tiles", f"{tiles.shape[2]} x {tiles.shape[1]} px; {manifest.name} takes {side} x {side}")
        if wanted != side:
            image = functional.interpolate(image, size=(wanted, wanted), mode="bilinear", antialias=True)
    mean, std = (
        torch.tensor(values, device=tiles.device)[:, None, None]
        for values in (manifest.normalisation.mean, manifest.normalisation.std)
    )
    return (image - mean) / std


def image_pixels(stained: Tensor) -> Tensor:
    """Return a generator's output (B, 3, H, W) in [-1, 1] as (B, H, W, 3) uint8 RGB, rounded to the nearest level."""
    levels = (stained.float() + 1) * 127.5
    return levels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
