"""The explanation of one tile as a picture: tile, coarse map and fine map on one stated scale, with the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import OutputError
from wsi_pipeline.explain.legend import HEIGHT_PX, INK, legend, write
from wsi_pipeline.explain.pseudocolour import Rgb, diverging, margin_scale
from wsi_pipeline.explain.tile import MARGIN_NAMES, Explanation
from wsi_pipeline.models.manifest import HER2_CLASSES

NOTICE = "Research use only, not for diagnosis."

PANEL_PX, GAP_PX, LINE_PX = 448, 20, 22
TITLE_SIZE = 0.7
LEGEND_PX = 520
METHODS = {"hirescam": "HiResCAM", "gradcam": "Grad-CAM"}


def explanation_picture(found: Explanation, limit: float, origin: Sequence[str], mpp: float) -> Rgb:
    """Return (H, W, 3) RGB of `found`; colours end at -`limit` and `limit` logits for both maps.

    `origin`: lines that say which slide, place and network; `mpp`: pixel size of the tile, um/px. Positions of a map
    are shown as the squares that they are: nothing is interpolated.
    """
    lines = [*_answers(found), *origin]
    top = 44 + LINE_PX * len(lines)
    height = top + 2 * LINE_PX + PANEL_PX + LINE_PX + HEIGHT_PX + GAP_PX
    picture = np.full((height, 3 * PANEL_PX + 4 * GAP_PX, 3), 255, np.uint8)
    sign = "for" if found.margins[found.margin] > 0 else "against"
    upper = MARGIN_NAMES[found.margin].split()[0]
    title = f"{MARGIN_NAMES[found.margin]}: {found.margins[found.margin]:+.2f} logits, {sign} {upper}"
    write(picture, title, GAP_PX, 30, TITLE_SIZE)
    for number, line in enumerate(lines):
        write(picture, line, GAP_PX, 44 + LINE_PX * number + 10)
    for number, (heading, panel, figures) in enumerate(_panels(found, limit, mpp)):
        left, upper_edge = GAP_PX + number * (PANEL_PX + GAP_PX), top + LINE_PX
        write(picture, heading, left, upper_edge - 8)
        picture[upper_edge : upper_edge + PANEL_PX, left : left + PANEL_PX] = panel
        cv2.rectangle(picture, (left - 1, upper_edge - 1), (left + PANEL_PX, upper_edge + PANEL_PX), INK, 1)
        write(picture, figures, left, upper_edge + PANEL_PX + 18)
    bar = legend(margin_scale(limit, f"Evidence for {MARGIN_NAMES[found.margin]}, logits, both maps"), LEGEND_PX)
    bottom, right = height - GAP_PX // 2, 2 * GAP_PX + PANEL_PX
    picture[bottom - HEIGHT_PX : bottom, right : right + LEGEND_PX] = bar
    write(picture, NOTICE, GAP_PX, bottom - HEIGHT_PX + 36, TITLE_SIZE)
    return picture


def png_bytes(picture: Rgb) -> bytes:
    """Return `picture` (H, W, 3) as a PNG file's content. Raises OutputError."""
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError("picture", f"{picture.shape[1]} x {picture.shape[0]} px cannot be written as PNG")
    return bytes(content)


def _answers(found: Explanation) -> list[str]:
    """Return the lines with what the network answers."""
    shares = "   ".join(
        f"{name}: {share:.1%}" for name, share in zip(HER2_CLASSES, found.probabilities.tolist(), strict=True)
    )
    margins = ",   ".join(
        f"{name} {value:+.2f}" for name, value in zip(MARGIN_NAMES, found.margins.tolist(), strict=True)
    )
    return [f"Probabilities   {shares}     entropy {found.entropy_bits:.2f} of 2 bits", f"Margins, logits   {margins}"]


def _panels(found: Explanation, limit: float, mpp: float) -> list[tuple[str, Rgb, str]]:
    """Return heading, (448, 448, 3) picture and figures of the tile and of both maps."""
    side = found.rgb.shape[0]
    panels = [(f"Tile: {side} px at {mpp:g} um/px", _square(found.rgb), f"{side * mpp:.0f} um wide")]
    maps = (
        ("Integrated gradients", found.coarse, found.coarse_stride, f"the margin; glass {found.glass_margin:+.3g}"),
        (f"{METHODS[found.method]} at {found.layer}", found.fine, found.fine_stride, "not the margin"),
    )
    for name, values, stride, meaning in maps:
        um = side * mpp / values.shape[1]
        beyond = float((np.abs(values) > limit).mean())
        figures = f"{values.min():+.3g} to {values.max():+.3g}, mean {values.mean():+.3g} ({meaning})"
        figures += f"; {beyond:.0%} beyond the scale" if beyond else ""
        panels.append((f"{name}, stride {stride} ({um:.3g} um)", _square(diverging(values, limit)), figures))
    return panels


def _square(picture: Rgb | NDArray[np.uint8]) -> Rgb:
    """Return `picture` enlarged to a panel, its pixels staying squares."""
    return np.asarray(cv2.resize(picture, (PANEL_PX, PANEL_PX), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
