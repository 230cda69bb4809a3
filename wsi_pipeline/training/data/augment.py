"""Changes to training pixels that keep the class: turning, stain amounts, light, focus, noise, compression.

DAB density is what the classes differ by, so it is moved little, and only together over the whole tile: the cut-offs
that laboratories start from (0.2, 0.4, 0.6 OD, QuPath) are a factor of 1.5 or more apart.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.stain.density import Vector, optical_density

Range = tuple[float, float]
Pixels = NDArray[np.uint8]

WHITE: Vector = (255.0, 255.0, 255.0)
"""I0 of augmentation: no pixel is brighter, so nothing is clipped, and grey glass only moves a little."""

HEMATOXYLIN: Vector = (0.65, 0.70, 0.29)
DAB: Vector = (0.27, 0.57, 0.78)
EOSIN: Vector = (0.07, 0.99, 0.11)
"""Ruifrok and Johnston 2001."""


class AugmentOptions(BaseModel):
    """How far training pixels are moved; each value is drawn uniformly per sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: bool = Field(True, description="one of the eight turns and mirrorings of a square, the same for a pair")
    ihc: bool = Field(True, description="change colour and sharpness of the IHC image; off for a stainer's target")
    he: bool = Field(True, description="change colour and sharpness of the H&E image")
    hematoxylin_gain: Range = Field((0.75, 1.3), description="factor on the density of hematoxylin")
    dab_gain: Range = Field((0.92, 1.08), description="factor on the density of DAB: little, for it is the class")
    eosin_gain: Range = Field((0.7, 1.35), description="factor on the density of eosin")
    vector_shift: float = Field(0.02, ge=0, le=0.1, description="largest shift of each stain vector's component")
    light_od: float = Field(0.03, ge=0, le=0.1, description="largest common shift of optical density, OD")
    tint_od: float = Field(0.01, ge=0, le=0.05, description="largest further shift per channel, OD")
    blur_px: Range = Field((0.3, 0.9), description="standard deviation of an added blur, px")
    blur_share: float = Field(0.25, ge=0, le=1, description="share of the samples that are blurred")
    noise: float = Field(2.5, ge=0, description="largest standard deviation of added noise, grey levels")
    noise_share: float = Field(0.5, ge=0, le=1, description="share of the samples with added noise")
    jpeg: tuple[int, int] = Field((55, 95), description="JPEG quality")
    jpeg_share: float = Field(0.5, ge=0, le=1, description="share of the samples that are compressed")


def turned(image: Pixels, turn: int) -> Pixels:
    """Return `image` (N, N, 3) turned by `turn` % 4 right angles, and mirrored from 4 on."""
    out = np.rot90(image, turn % 4)
    return np.ascontiguousarray(out[:, ::-1] if turn >= 4 else out)


def changed(image: Pixels, other: Vector, gain: Range, rng: np.random.Generator, options: AugmentOptions) -> Pixels:
    """Return `image` (H, W, 3) with other stain amounts, light, focus, noise and compression.

    `other` is the stain beside hematoxylin, DAB or eosin, and `gain` the range of the factor on its density.
    """
    factors = (float(rng.uniform(*options.hematoxylin_gain)), float(rng.uniform(*gain)))
    shift = rng.uniform(-1, 1, (2, 3)) * options.vector_shift
    light = rng.uniform(-1, 1) * options.light_od + rng.uniform(-1, 1, 3) * options.tint_od
    matrix = stain_change((HEMATOXYLIN, other), factors, shift)
    return degraded(recoloured(image, matrix, light), rng, options)


def stain_change(
    stains: tuple[Vector, Vector], gains: tuple[float, float], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the (3, 3) matrix on (R, G, B) OD that scales each of two stains and moves its vector by `shift` (2, 3).

    What the two stains do not explain stays as it is.
    """
    before = _unit(np.array(stains, dtype=np.float64))
    after = _unit(np.maximum(before + shift, 0.01))
    rest = np.cross(before[0], before[1])
    rest /= np.linalg.norm(rest)
    amounts = np.linalg.inv(np.vstack([before, rest]).T)
    return np.asarray(np.vstack([after * np.array(gains)[:, None], rest]).T @ amounts)


def recoloured(image: Pixels, matrix: NDArray[np.float64], light_od: NDArray[np.float64]) -> Pixels:
    """Return `image` (H, W, 3) with OD multiplied by `matrix` (3, 3) and `light_od` (3,) added."""
    density = cv2.transform(optical_density(image, WHITE), np.column_stack([matrix, light_od]).astype(np.float32))
    grey = cv2.exp(density * np.float32(-np.log(10.0))) * np.float32(WHITE[0])
    return np.asarray(np.clip(grey + np.float32(0.5), 0, 255), dtype=np.uint8)


def degraded(image: Pixels, rng: np.random.Generator, options: AugmentOptions) -> Pixels:
    """Return `image` (H, W, 3) out of focus, noisy and compressed, each for its share of the samples."""
    draws = rng.random(3)
    if draws[0] < options.blur_share:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(*options.blur_px))), dtype=np.uint8)
    if draws[1] < options.noise_share and options.noise > 0:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, options.noise))
        image = np.asarray(np.clip(image + noise + np.float32(0.5), 0, 255), dtype=np.uint8)
    if draws[2] < options.jpeg_share:
        image = _compressed(image, int(rng.integers(options.jpeg[0], options.jpeg[1] + 1)))
    return image


def _compressed(image: Pixels, quality: int) -> Pixels:
    """Return `image` (H, W, 3) as a JPEG of `quality` shows it."""
    _, stream = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(back[..., ::-1])


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
