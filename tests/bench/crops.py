"""Draw the page of crops: places of real tissue, bare and with what the product says, and what the eye says of them.

Usage: python tests/bench/crops.py --data DIR (the folder of real images; whole cores in her2/cores)

Writes docs/crops.md and docs/images/crops. The cores may be shown with attribution (Apache-2.0).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from wsi_pipeline.config import load_settings
from wsi_pipeline.export.palette import CLASS_STYLES
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import Result

DOCS = Path(__file__).resolve().parents[2] / "docs"
CORE_MPP = 0.25
"""um/px, assumed: a core is 1.2 mm wide."""

CROP_UM, CROP_PX, GAP_PX = 160.0, 420, 6


class Place(NamedTuple):
    """The middle of a crop on a core, level-0 px, and what the eye sees there."""

    core: str
    x: int
    y: int
    eye: str


PLACES = (
    Place(
        "2_0123a214", 900, 2900,
        "Solid nests; nearly every cell has a complete brown wall, weak to moderate, in places strong: 2+ to "
        "3+.",
    ),
    Place(
        "2_0123a214", 1400, 3600,
        "A row of tall cells with brown side walls, a nest below with complete thin walls; grey dirt lies "
        "lower right. 2+.",
    ),
    Place(
        "2_0123a214", 3300, 600,
        "Glands with walls on the sides and the base, weak to moderate; debris in the lumens, a strand of "
        "stroma. 2+.",
    ),
    Place(
        "2_0123a214", 1700, 1500,
        "A band of lymphocytes and fibroblasts across the middle, which are no tumour; tumour above and below "
        "it, 1+ to 2+.",
    ),
    Place(
        "2_0123a214", 4200, 3300,
        "Above an unstained gland with a dozen pale nuclei, below one with side walls, weak to moderate. 0 "
        "and 2+ side by side.",
    ),
    Place(
        "1_154ae963", 3500, 3350,
        "Glands with brown walls in places, 1+ to 2+; the loose upper half is stroma with plasma cells, not "
        "tumour.",
    ),
    Place(
        "1_154ae963", 4300, 2100,
        "A large gland, faintly brown at its base, with some fifty nuclei; plasma cells around it are no "
        "tumour. 1+.",
    ),
    Place(
        "1_154ae963", 1500, 2500,
        "Plain mucous glands between lymphocytes, no tumour at all, no stain.",
    ),
    Place(
        "0_aa1da043", 2700, 2700,
        "Unstained tumour glands, a hundred large pale nuclei with nucleoli; red cells in vessels below. 0.",
    ),
    Place(
        "1_f8a2cea0", 2700, 3500,
        "Hardly any counterstain; a few ghost-like cells with brown specks at their base. Not to be scored.",
    ),
)  # fmt: skip
"""Chosen for being typical, good and bad, among the six cores that may be shown."""


def draw(picture: Image.Image, place: Place, cells: dict[str, list]) -> tuple[Image.Image, Counter[str]]:
    """Return the crop, bare and with a ring round each tumour cell, side by side, and those cells' classes."""
    half, scale = CROP_UM / CORE_MPP / 2, CROP_PX / (CROP_UM / CORE_MPP)
    left, top = place.x - half, place.y - half
    box = (left, top, place.x + half, place.y + half)
    bare = picture.transform((CROP_PX, CROP_PX), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
    marked, counted = bare.copy(), Counter[str]()
    pen = ImageDraw.Draw(marked)
    columns = (cells[name] for name in ("x_l0", "y_l0", "class", "nucleus_area_um2", "tumour"))
    for x_l0, y_l0, name, area, tumour in zip(*columns, strict=True):
        x, y = (x_l0 - left) * scale, (y_l0 - top) * scale
        if tumour and 0 <= x < CROP_PX and 0 <= y < CROP_PX:
            radius = np.sqrt(area / np.pi) * CROP_PX / CROP_UM + 2
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=CLASS_STYLES[name].rgb, width=2)
            counted[name] += 1
    both = Image.new("RGB", (2 * CROP_PX + GAP_PX, CROP_PX), "white")
    both.paste(bare, (0, 0))
    both.paste(marked, (CROP_PX + GAP_PX, 0))
    return both, counted


def said(result: Result, counted: Counter[str]) -> str:
    """Return what the product says of the crop and of its core."""
    listed = ", ".join(f"{counted[name]} {name}" for name in CLASS_STYLES if counted[name])
    number = sum(counted.values())
    cells = f"{number} tumour {'cells' if number > 1 else 'cell'} ({listed})" if counted else "no tumour cell"
    note = ", borderline" if result.borderline else ""
    return f"{cells}. Its core: {result.score}{note}, confidence {result.confidence}."


def main() -> None:
    """Score the cores, draw the crops and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("WSI_HER2_DATA"), help="or set WSI_HER2_DATA")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the product")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("name the folder of real images: --data DIR")
    pictures = DOCS / "images" / "crops"
    pictures.mkdir(parents=True, exist_ok=True)
    settings = load_settings(
        "serial",
        {"evidence": "cells", "rule.tumour": "gastroesophageal"} | dict(pair.split("=", 1) for pair in chosen.set),
    )
    lines: list[str] = []
    for core in dict.fromkeys(place.core for place in PLACES):
        (path,) = Path(chosen.data, "her2", "cores").glob(f"{core}*.jpg")
        with tempfile.TemporaryDirectory() as folder:
            result, run = score_slide(ScoreRequest(path, Path(folder) / "run", settings, mpp=CORE_MPP, stain="ihc"))
            cells = pq.read_table(run / "cells.parquet").to_pydict()
        picture = Image.open(path).convert("RGB")
        for place in (place for place in PLACES if place.core == core):
            number = PLACES.index(place) + 1
            both, counted = draw(picture, place, cells)
            both.save(pictures / f"{number:02d}.jpg", quality=80)
            lines += [
                f"## {number}. Core {core}, label {HER2_CLASSES[int(core[0])]}, around {place.x}, {place.y}", "",
                f"![Crop {number}](images/crops/{number:02d}.jpg)", "",
                f"**The eye:** {place.eye}", "", f"**The product:** {said(result, counted)}", "",
            ]  # fmt: skip
    (DOCS / "crops.md").write_text("\n".join([*HEAD.splitlines(), "", *lines]), encoding="utf-8")


HEAD = """# Ten crops, good and bad

Places of real tissue, 160 um wide: bare on the left; on the right a ring round each cell that the product counts
as tumour, in its class's colour (0 green, 1+ yellow, 2+ incomplete violet, 2+ orange, 3+ red). What is not ringed
is not counted. The eye's words are one engineer's, not a pathologist's.

The cores are of oesophageal adenocarcinoma, from github.com/bozeklab/HER2-overexpression (Apache-2.0), and scored
with `--tumour gastroesophageal`; the label is that of the whole core. Good are 1 to 3 and 10, where walls are seen
or nothing is; bad are 4 to 9: stroma counts as tumour and pale nuclei of glands are missed, so that cells of class
0 are mostly no tumour at all. Drawn by `python tests/bench/crops.py --data DIR`."""


if __name__ == "__main__":
    main()
