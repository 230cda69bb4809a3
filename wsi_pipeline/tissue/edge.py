"""The coverslip's edge: a long, straight, grey line near the border of the slide."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Mask = npt.NDArray[np.bool_]
Line = tuple[float, float, float, float]
WORKING_SIDE = 1000
"""Longest side, px, of the picture in which lines are sought; finer makes the search slow, not better."""


class EdgeOptions(BaseModel):
    """What makes a line a coverslip's edge; measured on an IHC slide with a known edge."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: float = Field(
        default=0.02, description="OD by which the line is darker than its surroundings; measured 0.03-0.1"
    )
    grey: float = Field(default=0.06, description="chroma / OD up to which it is grey; measured 0.01-0.06")
    length_share: float = Field(default=0.5, description="least length as a share of the overview's side")
    slope_degrees: float = Field(default=4.0, description="largest tilt against the overview's side")
    border_share: float = Field(
        default=0.2, description="largest distance from the border as a share of the overview's side"
    )
    width_um: float = Field(default=120.0, description="um either side of the line that go with it")


def beyond_coverslip(contrast: npt.NDArray[np.float32], grey: Mask, um_per_px: float, options: EdgeOptions) -> Mask:
    """Return the coverslip's edge and what lies between it and the border of the overview, (H, W).

    `contrast` (H, W) float32 is OD less its surroundings, `grey` (H, W) where there is no colour.
    """
    height, width = grey.shape
    beyond = np.zeros((height, width), dtype=np.uint8)
    margin = options.width_um / um_per_px
    for line in _long_lines((contrast >= options.contrast) & grey, options):
        x0, y0, x1, y1 = line
        if abs(x1 - x0) >= abs(y1 - y0):
            slope = (y1 - y0) / (x1 - x0)
            ends = np.array([y0 - slope * x0, y0 + slope * (width - x0)])
            _fill(beyond, ends, margin, options.border_share)
        else:
            slope = (x1 - x0) / (y1 - y0)
            ends = np.array([x0 - slope * y0, x0 + slope * (height - y0)])
            _fill(beyond.T, ends, margin, options.border_share)
    return beyond > 0


def _long_lines(dark: Mask, options: EdgeOptions) -> list[Line]:
    """Return long nearly horizontal or vertical lines (x0, y0, x1, y1), px of `dark` (H, W)."""
    height, width = dark.shape
    step = max(1, -(-max(height, width) // WORKING_SIDE))
    small = cv2.dilate(dark.astype(np.uint8), np.ones((step, step), np.uint8))[step // 2 :: step, step // 2 :: step]
    lines: list[Line] = []
    for axis, side in ((0, small.shape[1]), (1, small.shape[0])):
        picture = np.ascontiguousarray(small if axis == 0 else small.T) * np.uint8(255)
        shortest = int(options.length_share * side)
        found = cv2.HoughLinesP(
            picture, 1, np.pi / 720, max(shortest // 2, 10), minLineLength=shortest, maxLineGap=max(side // 20, 2)
        )
        for x0, y0, x1, y1 in [] if found is None else found.reshape(-1, 4).astype(float):
            if abs(y1 - y0) <= np.tan(np.radians(options.slope_degrees)) * abs(x1 - x0):
                line = np.array([x0, y0, x1, y1] if axis == 0 else [y0, x0, y1, x1]) * step + step // 2
                lines.append((float(line[0]), float(line[1]), float(line[2]), float(line[3])))
    return lines


def _fill(beyond: npt.NDArray[np.uint8], ends: npt.NDArray[np.float64], margin: float, border_share: float) -> None:
    """Set `beyond` (H, W) from the line with heights `ends` at the left and right border to the nearer border."""
    height, width = beyond.shape
    across = np.linspace(ends[0], ends[1], width)
    rows = np.arange(height)[:, None]
    if ends.max() <= border_share * height:
        beyond |= (rows <= across + margin).astype(np.uint8)
    elif ends.min() >= (1 - border_share) * height:
        beyond |= (rows >= across - margin).astype(np.uint8)
