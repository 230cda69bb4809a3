"""Measure the product on real images and print the tables of docs/validation.md.

Usage: python tests/bench/real_fields.py --data DIR [--part membranes] [--part scores] [--part nuclei]

DIR (or WSI_HER2_DATA) holds her2/fields and her2/membrane_masks (fields with manual masks of strong membrane),
her2/pairs_bci, her2/pairs_mist, her2/warwick, ki67, nuclei/images with nuclei/truth, and slides. Pixel sizes are um/px.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow.parquet as pq
from membrane_pixels import FIELD_MPP, harmonic, print_membranes
from scipy.ndimage import center_of_mass, label
from scipy.optimize import linear_sum_assignment

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.results import Result

SCORED: tuple[tuple[str, tuple[float | None, ...]], ...] = (
    ("her2/fields/*.png", (FIELD_MPP, 0.25, 0.45)),
    ("ki67/*.ome.tif", (None,)),
    ("her2/warwick/*.png", (0.5,)),
    ("her2/pairs_bci/IHC/*.png", (0.46,)),
    ("her2/pairs_mist/IHC/*.jpg", (0.46,)),
    ("her2/pairs_bci/HE/*.png", (0.46,)),
    ("her2/pairs_mist/HE/*.jpg", (0.46,)),
    ("slides/CMU-1-Small-Region.svs", (None,)),
    ("slides/HE_example.tif", (None,)),
)
"""Files and the pixel sizes they are scored at; None takes that of the file, the others are estimates."""

NUCLEI_MPPS = (0.25, 0.30)
"""The images with marked nuclei were published without a pixel size; nuclei of 6-8 um come out at 0.25-0.3."""

NEAR_UM = 3.0
"""A nucleus is found when a centre lies inside its mark or this close to the mark's centre."""

BROWN_OD = 0.3
"""Mean DAB inside a found nucleus from which it counts as brown, for precision by colour."""


def score(path: Path, mpp: float | None) -> Result:
    """Run the product on one image with the serial preset."""
    with tempfile.TemporaryDirectory() as folder:
        request = ScoreRequest(path, Path(folder) / "run", load_settings("serial", {}), mpp=mpp)
        return score_slide(request)[0]


def describe(result: Result) -> str:
    """Return score, shares, deciding share with its interval and number of cells as table cells."""
    shares = result.shares or dict.fromkeys(("0", "1+", "2i", "2+", "3+"), 0.0)
    listed = " | ".join(f"{shares[name]:.0f}" for name in ("0", "1+", "2i", "2+", "3+"))
    share = result.deciding_share
    decided = f"{share.quantity} {share.value:.0f} ({share.low:.0f}-{share.high:.0f})" if share else "-"
    border = ", borderline" if result.borderline else ""
    return f"{result.score}{border} | {result.category} | {listed} | {decided} | {result.cells.tumour}"


def print_scores(data: Path) -> None:
    """Print what the product says of every image."""
    print(
        "| image | um/px | stain | score | category | 0 | 1+ | 2i | 2+ | 3+ | deciding share % (95 %) | tumour cells |"
    )
    for pattern, sizes in SCORED:
        for mpp in sizes:
            for path in sorted(data.glob(pattern)):
                result = score(path, mpp)
                size = f"{mpp:.2f}" if mpp else f"{result.slide.mpp_x:.3f}"
                name = path.relative_to(data).with_suffix("").as_posix()
                print(f"| {name} | {size} | {result.stain} | {describe(result)} |", flush=True)


class Marks(NamedTuple):
    """Marked nuclei: `image` (H, W) int32 numbers from 1, with the drawn border; centres, areas (px), `brown` (N,)."""

    image: np.ndarray
    x: np.ndarray
    y: np.ndarray
    area_px: np.ndarray
    brown: np.ndarray


class Nuclei(NamedTuple):
    """How found nuclei meet the marked ones: counts by colour (blue, brown), and found / marked area of each pair."""

    marked: tuple[int, int]
    marked_found: tuple[int, int]
    found: tuple[int, int]
    found_right: tuple[int, int]
    area_ratio: np.ndarray

    def recall(self) -> float:
        """Return the share of marked nuclei that were found."""
        return sum(self.marked_found) / max(sum(self.marked), 1)

    def precision(self) -> float:
        """Return the share of found nuclei that are marked."""
        return sum(self.found_right) / max(sum(self.found), 1)

    def f1(self) -> float:
        """Return the F1 of both."""
        return harmonic(self.precision(), self.recall())


def read_marks(path: Path) -> Marks:
    """Read marked nuclei: blue or red (brown nuclei) inside a green border, which the insides are grown over."""
    truth = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    red, blue = truth[..., 0] > 127, truth[..., 2] > 127
    inside, number = np.zeros(red.shape, np.int32), 0
    brown: list[bool] = []
    for colour, is_brown in ((blue, False), (red, True)):
        labels, found = label(colour)
        inside[colour] = labels[colour] + number
        number += found
        brown += [is_brown] * found
    grown = cv2.dilate(inside.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
    image = np.where(inside > 0, inside, np.where(truth[..., 1] > 127, grown, 0))
    index = np.arange(1, number + 1)
    centres = np.array(center_of_mass(image > 0, image, index)).reshape(-1, 2)
    return Marks(
        image, centres[:, 1], centres[:, 0], np.bincount(image.ravel(), minlength=number + 1)[1:], np.array(brown)
    )


def find_nuclei(path: Path, mpp: float) -> dict[str, np.ndarray]:
    """Return the columns of the product's cell table: every nucleus, tumour or not."""
    with tempfile.TemporaryDirectory() as folder:
        request = ScoreRequest(path, Path(folder) / "run", load_settings("serial", {}), mpp=mpp)
        _, run = score_slide(request)
        table = pq.read_table(run / "cells.parquet")
    return {name: table[name].to_numpy() for name in ("x_l0", "y_l0", "nucleus_area_um2", "nuclear_dab_od")}


def match(cells: dict[str, np.ndarray], marks: Marks, mpp: float) -> Nuclei:
    """Pair found and marked nuclei one to one, nearest first over all, and count."""
    x, y = cells["x_l0"] - 0.5, cells["y_l0"] - 0.5
    distance_um = mpp * np.hypot(x[:, None] - marks.x, y[:, None] - marks.y)
    rows = np.clip(np.rint(y).astype(int), 0, marks.image.shape[0] - 1)
    columns = np.clip(np.rint(x).astype(int), 0, marks.image.shape[1] - 1)
    inside = marks.image[rows, columns][:, None] == np.arange(1, len(marks.x) + 1)
    allowed = inside | (distance_um <= NEAR_UM)
    found, marked = linear_sum_assignment(np.where(allowed, distance_um, 1e6))
    pair = allowed[found, marked]
    found, marked = found[pair], marked[pair]
    brown = cells["nuclear_dab_od"] >= BROWN_OD
    ratio = cells["nucleus_area_um2"][found] / (marks.area_px[marked] * mpp * mpp)
    return Nuclei(
        by_colour(marks.brown), by_colour(marks.brown[marked]), by_colour(brown), by_colour(brown[found]), ratio
    )


def by_colour(brown: np.ndarray) -> tuple[int, int]:
    """Return how many are blue and how many brown."""
    return int((~brown).sum()), int(brown.sum())


def pool(parts: list[Nuclei]) -> Nuclei:
    """Return the nuclei of several images together."""
    marked, marked_found, found, found_right = (
        (sum(part[field][0] for part in parts), sum(part[field][1] for part in parts)) for field in range(4)
    )
    ratio = np.concatenate([part.area_ratio for part in parts])
    return Nuclei(marked, marked_found, found, found_right, ratio)


def measure_nuclei(data: Path, mpp: float) -> dict[str, Nuclei]:
    """Return the comparison for every image with marked nuclei, by name."""
    paths = sorted((data / "nuclei/images").glob("*.png"))
    marks = {path: read_marks(data / "nuclei/truth" / path.name) for path in paths}
    return {path.stem: match(find_nuclei(path, mpp), marks[path], mpp) for path in paths}


def print_nuclei(data: Path) -> None:
    """Print how nuclei are found."""
    print(
        "| image | um/px | marked blue, brown | recall blue | brown | found blue, brown | precision blue | brown |",
        end="",
    )
    print(" precision | recall | F1 | found / marked area (quartiles) |")
    for mpp in NUCLEI_MPPS:
        images = measure_nuclei(data, mpp)
        for name, one in {**images, "pooled": pool(list(images.values()))}.items():
            recall = " | ".join(f"{a / max(b, 1):.2f}" for a, b in zip(one.marked_found, one.marked, strict=True))
            precision = " | ".join(f"{a / max(b, 1):.2f}" for a, b in zip(one.found_right, one.found, strict=True))
            marked, found = (f"{blue}, {brown}" for blue, brown in (one.marked, one.found))
            overall = " | ".join(f"{value:.2f}" for value in (one.precision(), one.recall(), one.f1()))
            area = ", ".join(f"{value:.2f}" for value in np.quantile(one.area_ratio, (0.25, 0.5, 0.75)))
            print(f"| {name} | {mpp:.2f} | {marked} | {recall} | {found} | {precision} | {overall} | {area} |")


PARTS = {"membranes": print_membranes, "scores": print_scores, "nuclei": print_nuclei}


def main() -> None:
    """Print the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("WSI_HER2_DATA"), help="or set WSI_HER2_DATA")
    parser.add_argument("--part", action="append", choices=tuple(PARTS), help="all when none is named")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("name the folder of real images: --data DIR")
    for part in chosen.part or PARTS:
        print(f"\n## {part}")
        PARTS[part](Path(chosen.data))


if __name__ == "__main__":
    main()
