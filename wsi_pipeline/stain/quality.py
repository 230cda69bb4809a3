"""Quality filter of virtual IHC tiles: a sound picture, in which a classifier sees what the label says.

The five checks and their thresholds are those of the source system's filter for 256 px tiles. All checks always run and
every reason is kept. Traps: the label check keeps the easy cases, so acceptance is to be reported per class; tiles
that passed are still synthetic and never belong into validation or test sets.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from wsi_pipeline.errors import UsageError

REASONS = ("blurred", "brightness", "contrast", "unsure", "label")
"""Why a tile is rejected; the order of the columns below."""

PIXEL_REASONS = 3
"""The first three need pixels only, the others a classifier."""

CLASSES = 4
"""0, 1+, 2+, 3+."""

WHITE_LEVEL = 255
"""Brightness and contrast are in shares of it."""

Flags = NDArray[np.bool_]


class QualityOptions(BaseModel):
    """Thresholds of the source system, for grey = 0.299 R + 0.587 G + 0.114 B rounded to 8 bits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mpp: float = Field(0.46, gt=0, description="um/px at which the limits hold (BCI's); tiles must have it")
    least_sharpness: float = Field(30.0, ge=0, description="variance of the Laplacian, grey levels^2; blurred below")
    least_brightness: float = Field(0.15, ge=0, le=1, description="mean grey / 255; too dark below")
    most_brightness: float = Field(0.85, ge=0, le=1, description="mean grey / 255; too bright above")
    least_contrast: float = Field(0.03, ge=0, le=0.5, description="standard deviation of grey / 255; flat below")
    most_contrast: float = Field(0.40, ge=0, le=0.5, description="standard deviation of grey / 255; harsh above")
    least_confidence: float = Field(0.55, ge=0, le=1, description="largest class probability; unsure below")
    least_tissue: float = Field(
        0.05, ge=0, le=1, description="share of tissue below which a tile is measured whole, as the glass that it is"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """Refuse a range that nothing can lie in."""
        for name in ("brightness", "contrast"):
            least, most = getattr(self, f"least_{name}"), getattr(self, f"most_{name}")
            if least >= most:
                raise ValueError(f"least_{name} {least:g} must be below most_{name} {most:g}")
        return self


class PixelFigures(NamedTuple):
    """What the pixel checks look at, (B,) float64 each."""

    sharpness: NDArray[np.float64]
    """Variance of the 4-neighbour Laplacian, grey levels^2."""
    brightness: NDArray[np.float64]
    """Mean grey / 255."""
    contrast: NDArray[np.float64]
    """Standard deviation of grey / 255."""


class Quality(NamedTuple):
    """The verdict on B tiles; columns in the order of `REASONS`."""

    failed: Flags
    """(B, 5) bool: the check was made and the tile did not pass."""
    made: Flags
    """(5,) bool: False where the check could not be made; a tile has then not passed it either."""

    @property
    def accepted(self) -> Flags:
        """(B,) bool: no check that was made failed. Look at `made` before calling tiles good."""
        return np.asarray(~self.failed.any(axis=1))

    def counts(self) -> dict[str, int]:
        """Return how many tiles each check that was made rejected; a tile may count under several reasons."""
        rejected = self.failed.sum(axis=0)
        return {name: int(rejected[column]) for column, name in enumerate(REASONS) if self.made[column]}

    def accepted_per_class(self, labels: NDArray[np.integer]) -> dict[int, tuple[int, int]]:
        """Return label -> (tiles accepted, tiles) for `labels` (B,)."""
        return {
            int(label): (int(self.accepted[labels == label].sum()), int((labels == label).sum()))
            for label in np.unique(labels)
        }


def pixel_figures(
    tiles: NDArray[np.uint8], options: QualityOptions, tissue: NDArray[np.bool_] | None = None
) -> PixelFigures:
    """Return sharpness, brightness and contrast of `tiles` (B, H, W, 3) uint8 RGB.

    With `tissue` (B, H, W) they are those of the tissue: a tile on the edge of a section that is 70 % glass is no bad
    stain, but its glass would make it look bright and blurred, and its border harsh. Pixels next to glass count for
    brightness and contrast, but not for sharpness, whose Laplacian reaches one pixel into the glass. A tile with less
    tissue than `least_tissue` is measured whole. Raises UsageError for other shapes.
    """
    _check_tiles(tiles, tissue)
    rows = [
        _figures(tile, None if tissue is None else tissue[number], options.least_tissue)
        for number, tile in enumerate(tiles)
    ]
    columns = np.array(rows, dtype=np.float64).reshape(-1, PIXEL_REASONS).T
    return PixelFigures(*columns)


def check_pixels(tiles: NDArray[np.uint8], options: QualityOptions, tissue: NDArray[np.bool_] | None = None) -> Flags:
    """Return (B, 3) bool, True where a tile fails "blurred", "brightness", "contrast"; see `pixel_figures`."""
    sharpness, brightness, contrast = pixel_figures(tiles, options, tissue)
    return np.stack(
        [
            sharpness < options.least_sharpness,
            (brightness < options.least_brightness) | (brightness > options.most_brightness),
            (contrast < options.least_contrast) | (contrast > options.most_contrast),
        ],
        axis=1,
    )


def check_answers(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer] | None, options: QualityOptions
) -> Flags:
    """Return (B, 2) bool, True where a tile fails "unsure", "label".

    `probabilities` (B, 4) of 0, 1+, 2+, 3+; `labels` (B,) are the H&E tiles' classes 0-3, None when unknown: nothing
    fails "label" then, and `check_tiles` says that it was not checked. Raises UsageError for anything else.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != CLASSES:
        raise UsageError("quality filter", f"probabilities {probabilities.shape} are not (B, {CLASSES})")
    unsure = ~(probabilities.max(axis=1) >= options.least_confidence)  # true for NaN too
    if labels is None:
        return np.stack([unsure, np.zeros_like(unsure)], axis=1)
    if labels.shape != unsure.shape or (labels.size and not 0 <= labels.min() <= labels.max() < CLASSES):
        raise UsageError("quality filter", f"labels must be {unsure.size} classes from 0 to {CLASSES - 1}")
    return np.stack([unsure, probabilities.argmax(axis=1) != labels], axis=1)


def check_tiles(
    tiles: NDArray[np.uint8], probabilities: NDArray[np.floating] | None, labels: NDArray[np.integer] | None,
    options: QualityOptions, tissue: NDArray[np.bool_] | None = None,
) -> Quality:  # fmt: skip
    """Run all checks that can be made on `tiles` (B, H, W, 3) uint8 RGB at `options.mpp`, and keep all reasons.

    Without `probabilities` (B, 4) neither "unsure" nor "label" can be checked, without `labels` (B,) not "label".
    Raises UsageError for arrays that do not fit each other.
    """
    failed = np.zeros((len(tiles), len(REASONS)), bool)
    failed[:, :PIXEL_REASONS] = check_pixels(tiles, options, tissue)
    if probabilities is not None:
        if len(probabilities) != len(tiles):
            raise UsageError("quality filter", f"{len(probabilities)} probabilities for {len(tiles)} tiles")
        failed[:, PIXEL_REASONS:] = check_answers(probabilities, labels, options)
    answered = probabilities is not None
    return Quality(failed, np.array([True, True, True, answered, answered and labels is not None]))


def _check_tiles(tiles: NDArray[np.uint8], tissue: NDArray[np.bool_] | None) -> None:
    """Raise UsageError unless the tiles are RGB and the mask is theirs."""
    if tiles.ndim != 4 or tiles.shape[-1] != 3 or tiles.dtype != np.uint8:
        raise UsageError("quality filter", f"tiles {tiles.shape} {tiles.dtype} are not (B, H, W, 3) uint8")
    if tissue is not None and (tissue.shape != tiles.shape[:3] or tissue.dtype != np.bool_):
        raise UsageError("quality filter", f"tissue {tissue.shape} {tissue.dtype} is not {tiles.shape[:3]} bool")


def _figures(
    tile: NDArray[np.uint8], tissue: NDArray[np.bool_] | None, least_tissue: float
) -> tuple[float, float, float]:
    """Return sharpness, brightness and contrast of `tile` (H, W, 3), of its `tissue` (H, W) where there is enough."""
    grey = cv2.cvtColor(np.ascontiguousarray(tile), cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_64F)
    if tissue is not None and tissue.mean() >= least_tissue:
        inner = cv2.erode(tissue.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))).view(bool)
        grey, edges = grey[tissue], edges[inner if inner.any() else tissue]
    return float(edges.var()), float(grey.mean()) / WHITE_LEVEL, float(grey.std()) / WHITE_LEVEL
