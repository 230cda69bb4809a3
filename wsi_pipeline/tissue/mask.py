"""Where the tissue is, from a low-resolution overview of the slide.

Tissue is what is textured and not grey, or clearly coloured, once ink, the coverslip's edge and what was never scanned
are left out. Texture carries the decision, because an IHC slide that scores 0 has hardly any colour, and because
brown on blue is grey when seen from afar; glass, smears and shadows are smooth.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.stain.density import optical_density
from wsi_pipeline.stain.white import find_padding
from wsi_pipeline.tissue.colour import FAINT, blur, colour_of, disc
from wsi_pipeline.tissue.edge import EdgeOptions, beyond_coverslip
from wsi_pipeline.tissue.outline import OutlineOptions, draw_in
from wsi_pipeline.tissue.pen import PenOptions, find_pen
from wsi_pipeline.tissue.pieces import Extent, Piece, area_px, number_pieces

Mask = npt.NDArray[np.bool_]
WORKING_UM = 8.0
"""um/px at which the limits were measured; a finer overview is averaged down to no finer than this."""

SHARED_PX = 2
"""Pixels of the overview beside padding that are mixed with it, by averaging and by an encoder's blocks before."""

WORTH_SAYING = 0.05
"""Share of the overview that was never scanned; less is not worth a sentence."""


class TissueOptions(BaseModel):
    """Limits and sizes of the tissue mask.

    Measured at 8-10 um/px on the tissue of 34 IHC and 22 H&E images of six sources, and on the glass, dust, smears,
    shadows and debris of five overviews.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    texture: float = Field(
        default=0.004, description="OD, local deviation: palest tissue 0.004-0.008, smears up to 0.003"
    )
    relative_chroma: float = Field(
        default=0.055, description="chroma / OD: greyest tissue 0.06-0.08, coverslip edge 0.01-0.05"
    )
    dense_texture: float = Field(
        default=0.02, description="OD; texture from which dense tissue may be greyer: cells in rows 0.02-0.06"
    )
    dense_relative: float = Field(
        default=0.04, description="chroma / OD of it: brown membranes on blue-grey nuclei 0.047-0.07"
    )
    dense: float = Field(default=0.06, description="OD that counts as dense; tumour of any stain 0.08-0.4")
    chroma: float = Field(
        default=0.025, description="OD; enough without texture: smears at most 0.015, smooth H&E stroma 0.03"
    )
    beyond_edge_chroma: float = Field(
        default=0.035, description="OD; needed beyond the coverslip's edge, where dirt gathers"
    )
    texture_um: float = Field(
        default=18.0, description="um, Gaussian sigma; coarser changes of OD are shade, not texture"
    )
    window_um: float = Field(default=27.0, description="um, Gaussian sigma of the window for texture and colour")
    rim_density: float = Field(default=0.010, description="OD; tissue ends where no pixel nearby is darker")
    rim_um: float = Field(default=30.0, description="um from such a pixel that still count")
    close_um: float = Field(default=50.0, description="um, radius: narrower clefts are closed")
    open_um: float = Field(default=30.0, description="um, radius: thinner threads are removed")
    fill_mm2: float = Field(default=0.03, description="mm2; smaller holes are filled (vessels, fat, single glands)")
    least_piece_mm2: float = Field(default=0.03, description="mm2; smaller pieces are dust; a 0.6 mm core has 0.28")
    least_piece_share: float = Field(
        default=0.05, description="share of the scanned area that is never too small: fields"
    )
    pen: PenOptions = Field(default=PenOptions(), description="limits of ink")
    edge: EdgeOptions = Field(default=EdgeOptions(), description="what is a coverslip's edge")
    outline: OutlineOptions = Field(default=OutlineOptions(), description="where tissue ends")


class Tissue(NamedTuple):
    """The tissue of a slide, in the pixels of the overview it was sought in."""

    mask: Mask
    """(H, W) bool."""
    pen: Mask
    """(H, W) bool: ink; never part of the mask."""
    area_mm2: float
    labels: npt.NDArray[np.int32]
    """(H, W): number of the piece, 0 outside."""
    pieces: list[Piece]
    reasons: tuple[str, ...]
    """What was left out and why, one sentence each."""


def find_tissue(
    rgb: npt.NDArray[np.uint8],
    valid: Mask,
    mpp: Mpp,
    white: tuple[float, float, float],
    options: TissueOptions,
    extent_px: Extent | None = None,
) -> Tissue:
    """Return the tissue in the overview `rgb` (H, W, 3) uint8 of pixel size `mpp`, given what was scanned (`valid`).

    `white` is the glass (R, G, B). The overview should have 4-16 um/px. `extent_px`: see `area_px`; H and W if None.
    """
    extent_px = extent_px or (valid.shape[1], valid.shape[0])
    step = max(1, int(WORKING_UM / max(mpp)))
    picture, scanned = _reduced(rgb, valid, white, step)
    density = optical_density(picture, white)
    um_per_px = float(np.sqrt(mpp.x * mpp.y)) * step
    pen = find_pen(density, um_per_px, options.pen)
    stained, edge = _stained(density, um_per_px, options)
    allowed = ~pen & scanned & ~_padding(picture)
    coarse = _tidied(stained & allowed, um_per_px, options) & allowed
    mask = draw_in(coarse, allowed & (~edge | coarse), _darkness(picture, white), um_per_px, options.outline)
    if step > 1:
        mask, coarse, pen, edge = (_enlarged(part, valid.shape) for part in (mask, coarse, pen, edge))
    px_mm2 = mpp.x * mpp.y / 1e6
    least_mm2 = min(options.least_piece_mm2, options.least_piece_share * float(valid.sum()) * px_mm2)
    labels, pieces = number_pieces(mask & valid, coarse & valid, extent_px, px_mm2, least_mm2)
    mask = labels > 0
    reasons = _reasons(valid, pen, edge, mask, px_mm2)
    return Tissue(mask, pen, area_px(mask, extent_px) * px_mm2, labels, pieces, reasons)


def _reduced(
    rgb: npt.NDArray[np.uint8], valid: Mask, white: tuple[float, float, float], step: int
) -> tuple[npt.NDArray[np.uint8], Mask]:
    """Return `rgb` averaged down `step` times (h, w, 3), white where nothing was scanned, and what was (h, w)."""
    if not valid.all():
        rgb = np.where(valid[..., None], rgb, np.rint(white).astype(np.uint8))
    if step == 1:
        return rgb, valid
    small = (max(valid.shape[1] // step, 1), max(valid.shape[0] // step, 1))
    picture = np.asarray(cv2.resize(rgb, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scanned = cv2.resize(valid.astype(np.uint8), small, interpolation=cv2.INTER_AREA) > 0
    return picture, np.asarray(scanned)


def _padding(picture: npt.NDArray[np.uint8]) -> Mask:
    """Return where `picture` (h, w, 3) is filled up with white, and the pixels that the filling shares with the slide.

    It would pass for glass that is brighter than the slide's own, and its border for the edge of something.
    """
    filled = find_padding(picture).astype(np.uint8)
    return np.asarray(cv2.dilate(filled, np.ones((3, 3), np.uint8), iterations=SHARED_PX) > 0)


def _darkness(picture: npt.NDArray[np.uint8], white: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Return the mean OD (h, w) of `picture`, below 0 where it is brighter than `white`, so that no texture is lost."""
    levels = np.log10(np.maximum(np.arange(256, dtype=np.float32), 1))
    channels = (np.float32(np.log10(level)) - levels[picture[..., i]] for i, level in enumerate(white))
    return np.asarray(sum(channels) / np.float32(3), dtype=np.float32)


def _stained(density: npt.NDArray[np.float32], um_per_px: float, options: TissueOptions) -> tuple[Mask, Mask]:
    """Return where OD `density` (H, W, 3) looks like tissue, and where the coverslip's edge and its outside lie."""
    window = max(options.window_um / um_per_px, 1.0)
    colour = colour_of(density)
    detail = colour.density - blur(colour.density, max(options.texture_um / um_per_px, 1.0))
    texture = cv2.sqrt(blur(detail * detail, window))
    chroma, mean = blur(colour.chroma, window), blur(colour.density, window)
    relative = chroma / np.maximum(mean, FAINT)
    beyond = beyond_coverslip(detail, relative <= options.edge.grey, um_per_px, options.edge)
    stained = (texture >= options.texture) & (relative >= options.relative_chroma) & (mean >= FAINT)
    stained |= (texture >= options.dense_texture) & (relative >= options.dense_relative) & (mean >= options.dense)
    stained |= chroma >= options.chroma
    dark = (blur(colour.density, 1.0) >= options.rim_density).astype(np.uint8)
    stained &= cv2.dilate(dark, disc(options.rim_um / um_per_px)) > 0
    stained &= ~beyond | (chroma >= options.beyond_edge_chroma)
    return stained, beyond


def _tidied(stained: Mask, um_per_px: float, options: TissueOptions) -> Mask:
    """Return `stained` (H, W) with clefts closed, threads removed and small holes filled."""
    mask = cv2.morphologyEx(stained.astype(np.uint8), cv2.MORPH_OPEN, disc(options.open_um / um_per_px))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc(options.close_um / um_per_px))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    holes = stats[:, cv2.CC_STAT_AREA] <= options.fill_mm2 * 1e6 / um_per_px**2
    holes[0] = False
    holes[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = False  # open to the outside
    return np.asarray((mask > 0) | holes[labels])


def _enlarged(part: Mask, shape: tuple[int, ...]) -> Mask:
    """Return `part` (h, w) at `shape` (H, W), by nearest pixel."""
    return np.asarray(cv2.resize(part.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0)


def _reasons(valid: Mask, pen: Mask, edge: Mask, mask: Mask, px_mm2: float) -> tuple[str, ...]:
    """Return one sentence for each thing that was left out."""
    reasons = []
    unscanned = 1.0 - float(valid.mean())
    if unscanned >= WORTH_SAYING:
        reasons.append(f"{100 * unscanned:.0f} % of the slide was never scanned")
    if pen.any():
        reasons.append(f"pen marks over {pen.sum() * px_mm2:.2f} mm2 were left out")
    if edge.any():
        reasons.append(f"a coverslip edge near the border was found; {edge.mean():.0%} of the overview lies beyond it")
    if not mask.any():
        reasons.append("no tissue was found: nothing is textured or coloured enough")
    return tuple(reasons)
