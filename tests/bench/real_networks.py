"""Score real IHC images by cells, by classified tiles and by both, beside their labels; show the errors as pictures.

Usage: python tests/bench/real_networks.py --data DIR [--classifier NAME] [--weights FOLDER] [--sheet errors.png]

DIR holds her2/fields, her2/pairs_bci and her2/warwick. The images are small, so `rule.min_tiles` is 4 instead of 10.
"Both" is the score on which cells and tiles agree, else none. BCI's label is that of the whole slide.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import Result
from wsi_pipeline.scoring.agreement import AgreementOptions, agreement, confusion_by_patient

SETS = {
    "fields": ("her2/fields/*.png", 0.36),
    "BCI": ("her2/pairs_bci/IHC/*.png", 0.46),
    "Warwick": ("her2/warwick/*.png", 0.5),
}
"""Name -> files and their pixel size, um/px; that of the fields and of Warwick's is an estimate."""

FIELD_LABELS = {"1plus": 1, "2plus": 2, "3plus": 3}
NONE = "not evaluable"
CELL_PX = 360
"""Side of a picture in the sheet."""


class Scored(NamedTuple):
    """One image: its set, file, label 0 to 3, and the scores by kind of evidence."""

    kind: str
    path: Path
    label: int
    scores: dict[str, str]
    shares: str
    confidence: str


def label_of(kind: str, path: Path) -> int:
    """Return the class in the file's name."""
    if kind == "fields":
        return FIELD_LABELS[path.stem.split("_")[0]]
    if kind == "BCI":
        return HER2_CLASSES.index(path.stem.split("_")[2])
    return int(path.stem.split("Score_")[1][0])


def scored(kind: str, path: Path, mpp: float, arguments: argparse.Namespace) -> Scored:
    """Run the product on one image."""
    settings = load_settings("serial", {"rule.min_tiles": 4, "models.classifier": arguments.classifier})
    with tempfile.TemporaryDirectory() as folder:
        request = ScoreRequest(
            path, Path(folder) / "run", settings, mpp=mpp, stain="ihc", weights_folder=arguments.weights
        )
        result: Result = score_slide(request)[0]
    tiles = result.tiles.score if result.tiles else NONE
    both = result.score if result.score == tiles else NONE
    shares = result.tiles.shares if result.tiles else None
    said = " ".join(f"{shares[name]:.0f}" for name in ("0", "1+", "2+", "3+")) if shares else "-"
    scores = {"cells": result.score, "tiles": tiles, "both": both}
    return Scored(kind, path, label_of(kind, path), scores, said, result.confidence)


def print_rows(rows: list[Scored]) -> None:
    """Print one row per image."""
    print("| image | label | cells | tiles | both | tiles' shares 0 1+ 2+ 3+, % | confidence |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        name = row.path.stem if row.kind != "Warwick" else row.path.stem.split("-TissueId")[0]
        said = " | ".join(row.scores[kind] for kind in ("cells", "tiles", "both"))
        print(f"| {row.kind} {name} | {HER2_CLASSES[row.label]} | {said} | {row.shares} | {row.confidence} |")


def print_agreement(kind: str, rows: list[Scored]) -> None:
    """Print agreement with the labels by kind of evidence."""
    print(f"\n{kind}\n\n| evidence | with a score | right | quadratic kappa (95 %) |\n|---|---|---|---|")
    for evidence in ("cells", "tiles", "both"):
        known = [row for row in rows if row.scores[evidence] != NONE]
        if not known:
            print(f"| {evidence} | 0 of {len(rows)} | - | - |")
            continue
        label = np.array([row.label for row in known])
        score = np.array([HER2_CLASSES.index(row.scores[evidence]) for row in known])
        matrix = confusion_by_patient(label, score, [row.path.name for row in known])
        kappa = agreement(matrix, AgreementOptions())["quadratic kappa"]
        interval = "-" if kappa.value is None else f"{kappa.value:.2f}"
        if kappa.low is not None and kappa.high is not None:
            interval += f" ({kappa.low:.2f} to {kappa.high:.2f})"
        print(f"| {evidence} | {len(known)} of {len(rows)} | {int((label == score).sum())} | {interval} |")


def write_sheet(path: Path, rows: list[Scored]) -> None:
    """Write a picture of every image that cells or tiles call otherwise than its label."""
    wrong = [row for row in rows if any(row.scores[kind] != HER2_CLASSES[row.label] for kind in ("cells", "tiles"))]
    across = 4
    sheet = Image.new("RGB", (across * CELL_PX, -(-len(wrong) // across) * (CELL_PX + 34)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(wrong):
        x, y = number % across * CELL_PX, number // across * (CELL_PX + 34)
        picture = Image.open(row.path).convert("RGB")
        picture.thumbnail((CELL_PX - 6, CELL_PX))
        sheet.paste(picture, (x, y + 34))
        draw.text((x + 2, y + 2), f"{row.kind} {row.path.stem[:28]}: {HER2_CLASSES[row.label]}", fill="black")
        draw.text((x + 2, y + 17), f"cells {row.scores['cells']}, tiles {row.scores['tiles']}", fill="black")
    sheet.save(path)


def main() -> None:
    """Score every image and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--classifier", default="auto")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sheet", type=Path, help="picture of the errors")
    arguments = parser.parse_args()
    rows = [
        scored(kind, path, mpp, arguments)
        for kind, (pattern, mpp) in SETS.items()
        for path in sorted(arguments.data.glob(pattern))
    ]
    print_rows(rows)
    for kind in SETS:
        print_agreement(kind, [row for row in rows if row.kind == kind])
    if arguments.sheet:
        write_sheet(arguments.sheet, rows)


if __name__ == "__main__":
    main()
