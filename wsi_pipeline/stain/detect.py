"""Tell H&E from hematoxylin-DAB immunohistochemistry by the direction of the colour in optical density.

The hue is that of van der Laak et al. 2000 ("Hue-saturation-density (HSD) model for stain recognition"): the angle of
(OD_red / OD - 1, (OD_green - OD_blue) / (sqrt(3) OD)). In it hematoxylin lies at 66, eosin at 122 and DAB at 204
degrees (Ruifrok and Johnston's vectors). What tells the two apart is eosin: an IHC slide without any brown is still
blue, whereas an H&E slide is never without pink.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from wsi_pipeline.stain.density import StainVectors, optical_density

BLUE = (340.0, 88.0)
"""Hue sector of hematoxylin, degrees, through 0; counterstains measured 0-80."""
PINK = (88.0, 168.0)
"""Hue sector of eosin and of hematoxylin under eosin; H&E of six sources lies in 88-165."""
BROWN = (180.0, 260.0)
"""Hue sector of DAB; measured 180-245."""
HE_ABOVE = 0.30
"""Pink share from which it is H&E: 22 H&E images of six sources measured 0.39-1, 34 IHC images of six 0-0.20."""
FULL_MARGIN = 0.20
"""Distance of the pink share from `HE_ABOVE` at which the guess is certain."""
STAINED_OD = 0.06
"""Least mean OD of a pixel that is counted; below it the hue is camera noise."""
OPAQUE_OD = 1.2
"""Mean OD from which a pixel is too dark to have a hue (pigment, folds, black pen)."""
FEWEST_PIXELS = 500
"""Fewest stained pixels over all patches for a guess."""
DARK_FIELD = 0.15
"""Median brightness, as a share of the white, below which the patches are not brightfield (fluorescence)."""
KNOWN_SHARE = 0.5
"""Least share of the colour that lies in one of the three sectors."""


MOST_OTHER = 0.10
"""Share of the colour outside all sectors up to which it is hematoxylin with DAB: 43 real IHC images of seven sources
measured 0-0.05, full generators with random weights 0.12-0.39."""
MOST_OFF_PLANE = 0.24
"""Share of the density off the plane of hematoxylin and DAB up to which it is both: the same images measured 0.05-0.18,
light generators with random weights that pass for IHC by their hue 0.30-0.64."""


class StainGuess(NamedTuple):
    """What the colours of a slide's tissue say about its stain."""

    stain: Literal["ihc", "he", "unknown"]
    confidence: float
    """0-1: how far the pink share lies from the decision, 0 for "unknown"."""
    evidence: dict[str, float]
    """Shares of the colour that are pink, brown, blue and other (0-1), stained pixels, median brightness (0-1)."""


def detect_stain(patches: Sequence[npt.NDArray[np.uint8]], white: tuple[float, float, float]) -> StainGuess:
    """Guess the stain from tissue `patches` ((H, W, 3) uint8 RGB, 0.25-4 um/px) and the slide's `white` (R, G, B)."""
    totals = np.zeros(4, dtype=np.float64)
    stained = 0
    brightness: list[npt.NDArray[np.float32]] = []
    for patch in patches:
        weights, pixels = _colour_weights(optical_density(patch, white))
        totals += weights
        stained += pixels
        brightness.append(np.ravel(patch[::4, ::4].max(axis=2) / np.float32(max(white))))
    middle = float(np.median(np.concatenate(brightness))) if brightness else 0.0
    shares = totals / max(float(totals.sum()), 1e-9)
    evidence = dict(zip(("pink", "brown", "blue", "other"), (float(v) for v in shares), strict=True))
    evidence |= {"stained_pixels": float(stained), "median_brightness": middle}
    pink = evidence["pink"]
    if stained < FEWEST_PIXELS or middle < DARK_FIELD or evidence["other"] > 1 - KNOWN_SHARE:
        return StainGuess("unknown", 0.0, evidence)
    confidence = min(1.0, abs(pink - HE_ABOVE) / FULL_MARGIN)
    return StainGuess("he" if pink >= HE_ABOVE else "ihc", confidence, evidence)


def why_not_dab(patches: Sequence[npt.NDArray[np.uint8]], white: tuple[float, float, float]) -> str:
    """Return in figures why tissue `patches` ((H, W, 3) uint8 RGB) cannot be hematoxylin with DAB, or nothing.

    Stricter than `detect_stain`, which tells stains of real slides apart: this is for pictures that a network made.
    """
    guess = detect_stain(patches, white)
    shares = guess.evidence
    if guess.stain == "unknown" and shares["stained_pixels"] < FEWEST_PIXELS:
        return f"{shares['stained_pixels']:.0f} px of its tissue are stained, at least {FEWEST_PIXELS} needed"
    told = ", ".join(f"{100 * shares[name]:.0f} % {name}" for name in ("pink", "brown", "blue", "other"))
    off = _off_plane(patches, white)
    if guess.stain == "he":
        return f"its colour is {told}; real IHC has less than {100 * HE_ABOVE:.0f} % pink"
    if guess.stain == "unknown" or shares["other"] > MOST_OTHER:
        return f"its colour is {told}; real IHC has at most {100 * MOST_OTHER:.0f} % other"
    if off > MOST_OFF_PLANE:
        most = f"real IHC has at most {100 * MOST_OFF_PLANE:.0f} %"
        return f"its colour is {told}, and {100 * off:.0f} % of its density is neither stain's; {most}"
    return ""


def _off_plane(patches: Sequence[npt.NDArray[np.uint8]], white: tuple[float, float, float]) -> float:
    """Return the share of the density of stained pixels that lies off the plane of hematoxylin and DAB, 0-1."""
    vectors = StainVectors()
    normal = np.cross(vectors.hematoxylin, vectors.dab)
    normal /= np.linalg.norm(normal)
    off = whole = 0.0
    for patch in patches:
        density = optical_density(patch, white)
        mean = density.mean(axis=2)
        stained = density[(mean >= STAINED_OD) & (mean <= OPAQUE_OD)].astype(np.float64)
        off += float(np.abs(stained @ normal).sum())
        whole += float(np.linalg.norm(stained, axis=1).sum())
    return off / max(whole, 1e-9)


def _colour_weights(density: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], int]:
    """Return the chroma that is (pink, brown, blue, other), (4,), and how many pixels of OD (H, W, 3) are stained."""
    mean = density.mean(axis=2)
    counted = (mean >= STAINED_OD) & (mean <= OPAQUE_OD)
    od, mean = density[counted], mean[counted]
    if mean.size == 0:
        return np.zeros(4), 0
    across = od[:, 0] / mean - 1.0
    along = (od[:, 1] - od[:, 2]) / (np.sqrt(3.0) * mean)
    hue = np.degrees(np.arctan2(along, across)) % 360.0
    chroma = np.hypot(across, along) * mean
    pink = _between(hue, PINK)
    brown = _between(hue, BROWN)
    blue = (hue >= BLUE[0]) | (hue < BLUE[1])
    named = [float(chroma[sector].sum(dtype=np.float64)) for sector in (pink, brown, blue)]
    return np.array([*named, float(chroma.sum(dtype=np.float64)) - sum(named)]), int(mean.size)


def _between(hue: npt.NDArray[np.float32], sector: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Return where `hue` (N,) degrees lies in the half-open sector."""
    return np.asarray((hue >= sector[0]) & (hue < sector[1]))
