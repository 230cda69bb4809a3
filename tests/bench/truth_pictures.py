"""The cells that pull a score away from its label, as crops beside the overlay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from truth_material import Labelled

from wsi_pipeline.export.palette import CLASS_STYLES
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import Result

CROPS, ACROSS = 16, 4
CROP_UM, CROP_PX = 30.0, 150
"""Side of a crop on the slide and in the sheet."""

OVERLAY_PX = 640
STRENGTH = {"0": 0, "1": 1, "2i": 2, "2": 2, "3": 3}
"""Class of a cell: the score that it pulls towards."""


def write_sheet(folder: Path, image: Labelled, result: Result, run: Path) -> None:
    """Write a sheet of one scored picture into `folder`: the overlay, and the tumour cells farthest from the label.

    Each crop is shown bare on the left and with its cell's outline and class on the right.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = pq.read_table(run / "cells.parquet").to_pydict()
    picture = Image.open(image.path).convert("RGB")
    width = OVERLAY_PX + 2 * ACROSS * CROP_PX
    sheet = Image.new("RGB", (width, 30 + CROPS // ACROSS * (CROP_PX + 14)), "white")
    draw = ImageDraw.Draw(sheet)
    label = HER2_CLASSES[image.label]
    said = f"{image.site} {image.path.stem[:24]}: label {label}, product {result.score}, confidence {result.confidence}"
    draw.text((6, 8), said, fill="black")
    overlay = Image.open(run / "overlay.png").convert("RGB")
    overlay.thumbnail((OVERLAY_PX - 10, sheet.height - 34))
    sheet.paste(overlay, (0, 30))
    for number, row in enumerate(_farthest(cells, image.label)):
        x, y = OVERLAY_PX + number % ACROSS * 2 * CROP_PX, 30 + number // ACROSS * (CROP_PX + 14)
        crop = _crop(picture, (cells["x_l0"][row], cells["y_l0"][row]), image.mpp)
        sheet.paste(crop, (x, y))
        name = cells["class"][row]
        radius = np.sqrt(cells["nucleus_area_um2"][row] / np.pi) * CROP_PX / CROP_UM
        colour = CLASS_STYLES[name].rgb if name in CLASS_STYLES else (0, 0, 0)
        marked = crop.copy()
        middle = CROP_PX / 2
        box = (middle - radius, middle - radius, middle + radius, middle + radius)
        ImageDraw.Draw(marked).ellipse(box, outline=colour, width=3)
        sheet.paste(marked, (x + CROP_PX, y))
        text = f"{name}: {100 * cells['completeness'][row]:.0f} %, {cells['intensity_od'][row]:.2f} OD"
        draw.text((x + 2, y + CROP_PX), text, fill="black")
    sheet.save(folder / f"{image.site}_{image.path.stem[:24]}.png")


def _farthest(cells: dict[str, list], label: int) -> list[int]:
    """Return the rows of the tumour cells farthest from the label, spread over those that are equally far."""
    apart = np.array([abs(STRENGTH[name] - label) for name in cells["class"]], dtype=float)
    tumour = np.flatnonzero(np.array(cells["tumour"], dtype=bool)) if apart.size else np.zeros(0, int)
    shuffled = np.random.default_rng(20261).permutation(tumour)
    return shuffled[np.argsort(-apart[shuffled], kind="stable")][:CROPS].tolist()


def _crop(picture: Image.Image, centre: tuple[float, float], mpp: float) -> Image.Image:
    """Return CROP_UM of the picture around a place, level-0 px, as CROP_PX px; what lies outside is black."""
    half = CROP_UM / mpp / 2
    box = (centre[0] - half, centre[1] - half, centre[0] + half, centre[1] + half)
    return picture.transform((CROP_PX, CROP_PX), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
