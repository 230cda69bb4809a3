"""A colour bar that says its scale: for pictures beside maps, since a colour without a number says nothing."""

from __future__ import annotations

import cv2
import numpy as np

from wsi_pipeline.explain.pseudocolour import ColourScale, Rgb

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK = (30, 30, 30)
TEXT_SIZE = 0.45
"""Of OpenCV's font: capitals 10 px tall."""

MARGIN_PX = 34
BAR_TOP_PX, BAR_PX, HEIGHT_PX = 26, 18, 68


def write(picture: Rgb, text: str, x: int, y: int, size: float = TEXT_SIZE) -> None:
    """Draw `text` on `picture` (H, W, 3) with its baseline's left end at (x, y), px; what is not ASCII becomes "?"."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (x, y), FONT, size, INK, 1, cv2.LINE_AA)


def legend(scale: ColourScale, width: int = 360) -> Rgb:
    """Return (68, `width`, 3) uint8 RGB: the title, the colour bar, and values below it in the scale's unit.

    An end beyond which values occur is marked "<=" or ">=".
    """
    picture = np.full((HEIGHT_PX, width, 3), 255, np.uint8)
    write(picture, scale.title, MARGIN_PX, 16)
    bar_width = width - 2 * MARGIN_PX
    values = np.linspace(scale.low, scale.high, bar_width)
    bottom = BAR_TOP_PX + BAR_PX
    picture[BAR_TOP_PX:bottom, MARGIN_PX : MARGIN_PX + bar_width] = scale.colours(values)
    cv2.rectangle(picture, (MARGIN_PX - 1, BAR_TOP_PX - 1), (MARGIN_PX + bar_width, bottom), INK, 1)
    for number, value in enumerate(np.linspace(scale.low, scale.high, scale.ticks)):
        x = MARGIN_PX + round(number * (bar_width - 1) / (scale.ticks - 1))
        cv2.line(picture, (x, bottom), (x, bottom + 4), INK, 1)
        text = _mark(scale, number) + f"{value:.3g}"
        (text_width, _), _ = cv2.getTextSize(text, FONT, TEXT_SIZE, 1)
        write(picture, text, min(max(x - text_width // 2, 0), width - text_width), bottom + 18)
    return picture


def _mark(scale: ColourScale, number: int) -> str:
    """Return what stands before the value of tick `number`, where the colour means "and beyond"."""
    if number == 0 and scale.open_low:
        return "<="
    return ">=" if number == scale.ticks - 1 and scale.open_high else ""
