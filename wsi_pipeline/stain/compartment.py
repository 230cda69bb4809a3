"""Where in the cell the DAB lies: a nuclear marker (Ki67, ER, PR) stains bodies of a nucleus' size that stand alone.

A membrane is too thin to hold a nucleus' disk, and what is thick enough in a stained tissue, cytoplasm or saturated
membranes, goes over into other stain. DAB hides its own nucleus from the search for nuclei, so bodies are sought in
the DAB.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.geometry import Box, Mpp

GREY_PER_OD = 100
"""Grey levels per OD of the 8-bit density that is opened."""

SMOOTH_UM = 0.3
"""Sigma of the smoothing before bodies are sought, um: grains inside a nucleus close, its edge stays."""


class NuclearStainOptions(BaseModel):
    """What a stained nucleus is, and how much of them makes a stain nuclear.

    Limits were set between 6 images of nuclear markers (2 Ki67 files, 4 published fields) and 39 HER2 images of all
    scores, with phantoms of both; docs/validation.md has the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_od: float = Field(0.2, gt=0, description="least DAB of a stained body, OD")
    body_um: float = Field(5.0, gt=0, description="a body holds a disk this wide, um: thicker than any membrane")
    area_um2: tuple[float, float] = Field((10.0, 200.0), description="area of a body, um2: up to three nuclei touch")
    longest_um: float = Field(24.0, gt=0, description="longest side of a body's box, um")
    filled: float = Field(0.45, ge=0, le=1, description="least share of its box that a body fills: no net, no arc")
    ring_um: tuple[float, float] = Field((1.0, 2.5), description="from where to where the ring around a body goes, um")
    ring_share: float = Field(
        0.3,
        gt=0,
        description="a body stands alone when the ring has less than this share of its DAB (net of HER2: more)",
    )
    stained_od: float = Field(0.25, gt=0, description="DAB from which a px counts as stained, OD")
    min_bodies: int = Field(10, ge=1, description="fewer stained nuclei are no evidence")
    min_percent: float = Field(2.0, ge=0, description="nor is a smaller share of the cells, percent")
    min_stained_share: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the stained area in such bodies (nuclear: 0.68 and more, HER2: up to 0.10)",
    )
    min_over_membranes: float = Field(
        0.4,
        ge=0,
        le=1,
        description="bodies / (bodies + tumour cells with a membrane) (nuclear: 0.55 and more, HER2: up to 0.24)",
    )


class Bodies(NamedTuple):
    """Stained nuclei: centre of the box (N,) px of the image, pixel centres at whole numbers, and `area_um2` (N,)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area_um2: NDArray[np.float64]


class StainedArea(NamedTuple):
    """How much is stained: number and area of stained nuclei, and the area of all stained px, um2."""

    bodies: float
    body_um2: float
    stained_um2: float


def find_bodies(density: NDArray[np.float32], mpp: Mpp, options: NuclearStainOptions) -> Bodies:
    """Return the stained nuclei of an image (h, w) of smoothed DAB, OD; those that touch its edge are left out."""
    grey = cv2.convertScaleAbs(density, alpha=GREY_PER_OD)
    opened = cv2.morphologyEx(grey, cv2.MORPH_OPEN, _disk(0.5 * options.body_um, mpp))
    mask = (opened > options.body_od * GREY_PER_OD).astype(np.uint8)
    if not mask.any():
        return Bodies(*(np.zeros(0) for _ in range(3)))
    _, label, boxes, _ = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_BBDT)
    left, top, width, height, area_px = (boxes[1:, column].astype(np.float64) for column in range(5))
    area = area_px * mpp.x * mpp.y
    least, most = options.area_um2
    whole = (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    fits = (np.maximum(width * mpp.x, height * mpp.y) <= options.longest_um) & (area >= least) & (area <= most)
    kept = np.flatnonzero(whole & fits & (area_px >= options.filled * width * height))
    near, far = (_disk(side, mpp) for side in options.ring_um)
    outside = cv2.dilate(mask, near) == 0
    room = Box(0, 0, mask.shape[1], mask.shape[0])
    alone = np.zeros(len(area), bool)
    for index in kept:
        box = Box(*(int(value) for value in boxes[index + 1, :4])).padded(max(far.shape) // 2).intersection(room)
        place = box.slices_in(room)
        body = label[place] == index + 1
        ring = (cv2.dilate(body.astype(np.uint8), far) > 0) & outside[place]
        part = density[place]
        alone[index] = ring.any() and part[ring].mean() < options.ring_share * part[body].mean()
    return Bodies((left + 0.5 * (width - 1))[alone], (top + 0.5 * (height - 1))[alone], area[alone])


def smoothed(dab: NDArray[np.float32], mpp: Mpp) -> NDArray[np.float32]:
    """Return DAB (h, w) as bodies and stained px are sought in it, OD; never below 0, grains closed."""
    sigma_x, sigma_y = (SMOOTH_UM / side for side in mpp)
    size = (2 * round(3 * sigma_x) + 1, 2 * round(3 * sigma_y) + 1)
    blurred = cv2.GaussianBlur(dab, size, sigma_x, sigmaY=sigma_y)
    return np.asarray(np.clip(blurred, 0, 255 / GREY_PER_OD), dtype=np.float32)


def why_nuclear(found: StainedArea, tumour_cells: int, membranes: int, options: NuclearStainOptions) -> str:
    """Return why a stain is nuclear, with the figures, or nothing.

    `tumour_cells` were found by their blue nuclei, `membranes` of them have a stained membrane; 0 where none were
    sought.
    """
    if not looks_nuclear(found, membranes, options):
        return ""
    percent = 100.0 * found.bodies / (found.bodies + tumour_cells)
    if found.bodies < options.min_bodies or percent < options.min_percent:
        return ""
    return f"the stain is nuclear: {described(found, tumour_cells, membranes)}; HER2 is a stain of membranes"


def looks_nuclear(found: StainedArea, membranes: int, options: NuclearStainOptions) -> bool:
    """Say whether what is stained lies in nuclei, however little it is."""
    if found.stained_um2 == 0 or found.bodies == 0:
        return False
    inside = found.body_um2 / found.stained_um2 >= options.min_stained_share
    return inside and found.bodies / (found.bodies + membranes) >= options.min_over_membranes


def described(found: StainedArea, tumour_cells: int, membranes: int) -> str:
    """Return the figures in words."""
    share = min(100.0 * found.body_um2 / found.stained_um2, 100.0)
    text = f"{found.bodies:.0f} stained nuclei hold {share:.0f} % of the stained area"
    if tumour_cells == 0 and membranes == 0:
        return text
    return f"{text}, beside {tumour_cells} tumour cells of which {membranes} have a stained membrane"


def _disk(radius_um: float, mpp: Mpp) -> NDArray[np.uint8]:
    """Return an elliptic kernel of the given radius in um."""
    width, height = (2 * round(radius_um / side) + 1 for side in mpp)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)), dtype=np.uint8)
