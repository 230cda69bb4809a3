"""Where the nuclei are: hematoxylin blobs, or the blue holes that a stained membrane leaves."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.options import CellOptions
from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.density import Stains

HEMATOXYLIN_CAP = 0.7
"""OD above which more hematoxylin says nothing more about a nucleus (and is often DAB scattered into the channel)."""


class Nuclei(NamedTuple):
    """Nucleus centres and the maps they came from, on a grid `step` times coarser than the image.

    `column`, `row`: (N,) int64, grid px. `evidence`, `hematoxylin`, `dab`: (h, w) float32, OD.
    `owner`: (h, w) float32, 1-based number of the
    nearest nucleus. `distance`: (h, w) float32, grid px to it. `mpp`: pixel size of the grid, um.
    `proven`: whether these are nuclei already, rather than candidates that are yet to be told from gaps.
    `epithelium`: (N,) float32, how likely each lies in epithelium; None where nobody looked.
    """

    column: NDArray[np.int64]
    row: NDArray[np.int64]
    evidence: NDArray[np.float32]
    hematoxylin: NDArray[np.float32]
    dab: NDArray[np.float32]
    owner: NDArray[np.float32]
    distance: NDArray[np.float32]
    step: int
    mpp: Mpp
    proven: bool = False
    epithelium: NDArray[np.float32] | None = None


def grid_step(mpp: Mpp, options: CellOptions) -> int:
    """Return the whole number of image px in one px of the grid on which nuclei are sought."""
    return max(1, round(options.nucleus_grid_um / (0.5 * (mpp.x + mpp.y))))


def shrink(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Return the block means of `image` (H, W) over step x step px; H and W are multiples of `step`."""
    if step == 1:
        return image
    size = (image.shape[1] // step, image.shape[0] // step)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def disk(radius_um: float, mpp: Mpp) -> NDArray[np.uint8]:
    """Return an elliptic kernel of the given radius in um."""
    width, height = (2 * round(radius_um / side) + 1 for side in mpp)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)), dtype=np.uint8)


def smooth(image: NDArray[np.float32], sigma_um: float, mpp: Mpp) -> NDArray[np.float32]:
    """Gaussian filter with sigma in um, cut off at 3 sigma so that its reach is finite."""
    sigma_x, sigma_y = sigma_um / mpp.x, sigma_um / mpp.y
    size = (2 * round(3 * sigma_x) + 1, 2 * round(3 * sigma_y) + 1)
    return np.asarray(cv2.GaussianBlur(image, size, sigma_x, sigmaY=sigma_y), dtype=np.float32)


def find_nuclei(stains: Stains, mpp: Mpp, options: CellOptions) -> Nuclei:
    """Find nucleus centres in unmixed `stains` (H, W) at pixel size `mpp`, and each grid pixel's nearest nucleus."""
    step = grid_step(mpp, options)
    grid_mpp = mpp.scaled(step)
    hematoxylin = shrink(stains.hematoxylin, step)
    dab = shrink(stains.dab, step)
    blue = np.clip(hematoxylin, -0.05, HEMATOXYLIN_CAP)
    evidence = np.asarray(blue - options.dab_penalty * np.maximum(dab, 0), dtype=np.float32)
    box = tuple(2 * round(options.surround_um / side / 2) + 1 for side in grid_mpp)
    height = smooth(evidence, options.nucleus_sigma_um, grid_mpp)
    height -= cv2.blur(cv2.blur(evidence, (box[0] // 2 | 1, box[1] // 2 | 1)), (box[0] // 2 | 1, box[1] // 2 | 1))
    top = cv2.dilate(height, disk(options.nucleus_spacing_um, grid_mpp))
    row, column = np.nonzero((height >= top) & (height > options.nucleus_contrast))
    owner, distance = territories(row, column, evidence.shape)
    return Nuclei(column, row, evidence, hematoxylin, dab, owner, distance, step, grid_mpp)


def territories(
    row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the 1-based number of the nearest centre for each px, and the distance to it in px."""
    if len(row) == 0:
        return np.zeros(shape, np.float32), np.full(shape, np.inf, np.float32)
    seeds = np.full(shape, 255, np.uint8)
    seeds[row, column] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(int(label.max()) + 1, np.float32)
    number[label[row, column]] = np.arange(1, len(row) + 1, dtype=np.float32)
    return number[label], np.asarray(distance, dtype=np.float32)
