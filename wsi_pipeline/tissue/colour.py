"""What a pixel of the overview looks like: how dense, how colourful and of what hue."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

FAINT = 0.005
"""Mean OD below which the relative chroma is not trusted: about one grey level of glass."""


class Colour(NamedTuple):
    """Colour of each pixel in optical density, all (H, W) float32."""

    density: npt.NDArray[np.float32]
    """Mean OD over the channels."""
    chroma: npt.NDArray[np.float32]
    """Standard deviation of OD over the channels; 0 for grey."""
    relative: npt.NDArray[np.float32]
    """Chroma / density: 0.05 and less for grey things, 0.06-0.4 for IHC, 0.2-0.7 for H&E and colour pens."""
    hue: npt.NDArray[np.float32]
    """HSD hue, degrees 0-360: hematoxylin 66, eosin 122, DAB 204."""


_MEAN_AND_CHROMA = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [np.sqrt(2) / 3, -np.sqrt(2) / 6, -np.sqrt(2) / 6], [0, 1 / np.sqrt(6), -1 / np.sqrt(6)]],
    dtype=np.float32,
)
"""Takes OD (R, G, B) to its mean and its two chroma axes, whose length is the deviation and whose angle is the hue."""


def colour_of(density: npt.NDArray[np.float32]) -> Colour:
    """Return the colour of OD `density` (H, W, 3) float32."""
    mean, across, along = cv2.split(cv2.transform(density, _MEAN_AND_CHROMA))
    chroma, hue = cv2.cartToPolar(across, along, angleInDegrees=True)
    relative = cv2.divide(chroma, np.maximum(mean, np.float32(FAINT)))
    return Colour(*(np.asarray(part, dtype=np.float32) for part in (mean, chroma, relative, hue)))


def blur(image: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Return `image` (H, W) or (H, W, C) smoothed by a Gaussian of `sigma_px`."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.float32)


def disc(radius_px: float) -> npt.NDArray[np.uint8]:
    """Return an elliptical structuring element of `radius_px` (at least one pixel)."""
    side = 2 * max(round(radius_px), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
