"""From stain amounts to grey levels: Beer-Lambert, blur, lamp and shot noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.phantom.fields import Array, Texture, Waves, rng_for
from wsi_pipeline.training.phantom.options import PhantomOptions, Rgb

NEUTRAL: Rgb = (0.577, 0.577, 0.577)
"""Dust absorbs all channels alike."""

INKS: dict[str, Rgb] = {"blue": (0.82, 0.55, 0.17), "green": (0.80, 0.30, 0.52), "black": (0.60, 0.58, 0.55)}
"""Unit-length absorption of marker inks."""

Stains = list[tuple[Array, Rgb]]
"""Amount maps (h, w) with the stain vector of each."""


def jittered(options: PhantomOptions) -> tuple[Rgb, Rgb, Rgb]:
    """Return hematoxylin, DAB and eosin vectors of unit length, moved by the seed when jitter is asked for."""
    rng = rng_for(options.seed, "stain vectors")
    out = []
    for vector in (options.staining.hematoxylin, options.staining.dab, options.staining.eosin):
        moved = np.maximum(np.array(vector) + rng.normal(0, 1, 3) * options.staining.jitter, 0.01)
        unit = moved / np.linalg.norm(moved)
        out.append((float(unit[0]), float(unit[1]), float(unit[2])))
    return out[0], out[1], out[2]


@dataclass(frozen=True)
class Optics:
    """The scanner of one phantom: white point, blur in pixels, lamp and noise."""

    options: PhantomOptions
    lamp: Waves
    noise: Array

    @classmethod
    def of(cls, options: PhantomOptions) -> Optics:
        """Prepare the lamp and a periodic noise image for `options`."""
        rng = rng_for(options.seed, "optics")
        lamp = Waves.random(rng, 5, (400.0, 1500.0), options.optics.illumination)
        return cls(options, lamp, Texture.band(rng, 1.0, (0.45, 0.45), 509).values)

    def expose(self, stains: Stains, origin: tuple[int, int]) -> NDArray[np.uint8]:
        """Return uint8 (h, w, 3) grey levels of the amounts, for a block whose upper-left level-0 pixel is `origin`."""
        options = self.options
        sigma = (options.optics.blur_um / options.mpp_x, options.optics.blur_um / options.mpp_y)
        height, width = stains[0][0].shape
        density = np.zeros((height, width, 3), dtype=np.float32)
        for amount, vector in stains:
            soft = cv2.GaussianBlur(amount, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])
            for channel in range(3):
                density[..., channel] += soft * np.float32(vector[channel])
        light = np.exp(density * np.float32(-np.log(10.0)))
        x = (np.arange(origin[0], origin[0] + width) + 0.5) * options.mpp_x
        y = (np.arange(origin[1], origin[1] + height) + 0.5) * options.mpp_y
        light *= (1 + self.lamp.grid(x, y))[..., None]
        grain = self._grain(origin, (height, width))
        light += np.sqrt(light) * grain[..., None]
        light *= np.array(options.optics.white, dtype=np.float32)
        return np.asarray(np.clip(light + np.float32(0.5), 0, 255), dtype=np.uint8)

    def _grain(self, origin: tuple[int, int], shape: tuple[int, int]) -> Array:
        """Return relative noise (h, w) that belongs to the pixels of the slide, not to the block."""
        size = self.noise.shape[0]
        rows = np.arange(origin[1], origin[1] + shape[0]) % size
        columns = np.arange(origin[0], origin[0] + shape[1]) % size
        scale = np.float32(self.options.optics.shot_noise / max(self.options.optics.white))
        return np.asarray(self.noise[rows][:, columns] * scale, dtype=np.float32)
