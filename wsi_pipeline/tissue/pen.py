"""Pen marks on the slide: green, blue, red and black ink, told from tissue by hue, chroma and opacity."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.tissue.colour import Colour, blur, colour_of, disc

Mask = npt.NDArray[np.bool_]


class PenOptions(BaseModel):
    """Limits of ink in optical density.

    Measured at 8-20 um/px on four marked slides and on 55 unmarked images (nine HER2 fields, H&E and IHC of six
    sources): an ink's limits leave out what the tissue of that hue reaches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    green_hue: tuple[float, float] = Field(
        default=(270.0, 362.0), description="degrees; marks 350-359, tissue nearly never"
    )
    green_chroma: float = Field(default=0.035, description="OD; marks 0.03-0.29, bluest tissue of that hue below 0.016")
    blue_hue: tuple[float, float] = Field(
        default=(2.0, 62.0), description="degrees; marks 31-44, IHC counterstain 0-80"
    )
    blue_chroma: float = Field(default=0.11, description="OD; marks 0.15-0.38, IHC counterstain at most 0.052")
    red_hue: tuple[float, float] = Field(default=(153.0, 176.0), description="degrees; marks 154-168, eosin 115-153")
    red_hue_faint: tuple[float, float] = Field(
        default=(150.0, 182.0), description="degrees, beside a clear mark: over tissue"
    )
    red_chroma: float = Field(default=0.085, description="OD; marks 0.09-0.54, faint strokes 0.04-0.1")
    red_relative: float = Field(default=0.45, description="chroma / OD; marks 0.46-0.66, DAB at most 0.4")
    black_density: float = Field(default=0.48, description="mean OD; black ink 0.43-1.28")
    black_relative: float = Field(default=0.14, description="chroma / OD; black ink 0.06-0.12, intense DAB 0.2-0.35")
    faint: float = Field(
        default=0.5, description="share of these chroma and density limits that suffices beside a clear mark"
    )
    core_share: float = Field(default=0.28, description="least clear share of a mark: marks 0.5-0.9, muscle up to 0.24")
    least_area_mm2: float = Field(default=0.02, description="mm2 of clear ink; smaller spots are pigment or blood")
    least_share: float = Field(
        default=0.01, description="share of the picture that suffices where it is small: a field, a cut-out"
    )
    least_of_all_mm2: float = Field(default=0.002, description="mm2 of clear ink below which nothing is a mark")
    halo_um: float = Field(default=40.0, description="um around the mark that go with it: its blurred rim")


def find_pen(density: npt.NDArray[np.float32], um_per_px: float, options: PenOptions) -> Mask:
    """Return where ink lies, (H, W), from OD `density` (H, W, 3) float32 at `um_per_px` (about 8-16).

    A mark is a clear core of at least `least_area_mm2` and everything fainter of the same kind that touches it.
    """
    colour = colour_of(blur(density, max(10.0 / um_per_px, 0.8)))
    share_px = max(options.least_share * colour.hue.size, options.least_of_all_mm2 * 1e6 / um_per_px**2)
    least_px = min(options.least_area_mm2 * 1e6 / um_per_px**2, share_px)
    found = np.zeros(colour.hue.shape, dtype=bool)
    for clear, faint in zip(_inks(colour, options), _faint_inks(colour, options), strict=True):
        found |= _grown(clear, clear | faint, least_px, options.core_share)
    if not found.any():
        return found
    return np.asarray(cv2.dilate(found.astype(np.uint8), disc(options.halo_um / um_per_px)) > 0)


def _inks(colour: Colour, options: PenOptions) -> tuple[Mask, Mask, Mask, Mask]:
    """Return where clear green, blue, red and black ink lies."""
    chroma, hue = colour.chroma, colour.hue
    green = _within(hue, options.green_hue) & (chroma >= options.green_chroma)
    blue = _within(hue, options.blue_hue) & (chroma >= options.blue_chroma)
    red = _within(hue, options.red_hue) & (chroma >= options.red_chroma)
    red &= colour.relative >= options.red_relative
    black = (colour.density >= options.black_density) & (colour.relative <= options.black_relative)
    return green, blue, red, black


def _faint_inks(colour: Colour, options: PenOptions) -> tuple[Mask, Mask, Mask, Mask]:
    """Return where ink would lie with the limits of chroma and density lowered and red widened."""
    share = options.faint
    lowered = {
        "green_chroma": share * options.green_chroma,
        "blue_chroma": share * options.blue_chroma,
        "red_chroma": share * options.red_chroma,
        "red_hue": options.red_hue_faint,
        "black_density": share * options.black_density,
    }
    return _inks(colour, options.model_copy(update=lowered))


def _within(hue: npt.NDArray[np.float32], sector: tuple[float, float]) -> Mask:
    """Return where `hue` lies in `sector`, whose end may lie past 360."""
    low, high = sector
    return np.asarray(((hue >= low) & (hue < high)) | (hue < high - 360.0))


def _grown(clear: Mask, faint: Mask, least_px: float, core_share: float) -> Mask:
    """Return the connected parts of `faint` of which `least_px` and a share of `core_share` at least are `clear`."""
    if not clear.any():
        return clear
    _, labels, stats, _ = cv2.connectedComponentsWithStats(faint.astype(np.uint8), connectivity=8)
    cores = np.bincount(labels[clear], minlength=len(stats))
    keep = (cores >= max(least_px, 1.0)) & (cores >= core_share * stats[:, cv2.CC_STAT_AREA])
    keep[0] = False
    return np.asarray(keep[labels])
