"""Hold the product's scores against every labelled real image, site by site, beside a measure that knows no cells.

Usage: python tests/bench/truth.py [--data DIR] [--evidence cells|auto] [--set KEY=VALUE ...] [--json FILE]
       [--pictures DIR] [--images]

DIR (or WSI_HER2_DATA) holds her2/. Each picture is scored twice: as a user would, and with refusals forced
(`rule.min_cells=1`, the stain given as IHC). Planted squares are left out as Ignore* regions. Pictures of one case
count as one together. "Confident wrong" is a score that is wrong, not borderline, and not of low confidence. The
ridge index's cut-offs, and in the last table the reach of the sets of scores, are chosen on the other sites. Labels in
doubt are listed and left out of the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ridge_index import Ridges, best_cuts, confusion, ridge_index
from scipy.stats import rankdata, spearmanr
from truth_doubt import Scored, print_doubt
from truth_material import Labelled, labelled_images, write_region
from truth_pictures import write_sheet

from wsi_pipeline.config import Settings, load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.results import Result
from wsi_pipeline.scoring.agreement import accuracy, accuracy_at, weighted_kappa
from wsi_pipeline.slide import open_slide
from wsi_pipeline.tiling import make_grid

REFUSED = "not evaluable"

MASK_PX = 8
"""Px of a picture along each side that are one of the tissue mask for the ridge index."""


class Judged(NamedTuple):
    """What the product and the ridge index say of one picture."""

    image: Labelled
    result: Result
    forced: Result
    ridges: Ridges

    @property
    def confident_wrong(self) -> bool:
        """Whether the score is wrong and does not say that it may be."""
        result = self.result
        wrong = result.score not in (REFUSED, HER2_CLASSES[self.image.label])
        return wrong and not result.borderline and result.confidence != "low"

    @property
    def forced_class(self) -> int:
        """The class 0 to 3 with refusals forced; a picture without a single cell counts as 0."""
        return 0 if self.forced.score == REFUSED else HER2_CLASSES.index(self.forced.score)

    @property
    def tiles_class(self) -> int | None:
        """The class by the classifier's tiles alone, refusals forced; None where none were classified."""
        tiles = self.forced.tiles
        return HER2_CLASSES.index(tiles.score) if tiles is not None and tiles.score in HER2_CLASSES else None


def judge(image: Labelled, chosen: argparse.Namespace) -> Judged:
    """Score one picture both ways and measure its ridges."""
    values = {"evidence": chosen.evidence, "rule.tumour": image.tumour}
    values |= dict(pair.split("=", 1) for pair in chosen.set)
    with tempfile.TemporaryDirectory() as folder:
        with open_slide(image.path, mpp=image.mpp) as slide:
            region = write_region(image, slide.info.size_l0, Path(folder) / "blocks.geojson")

        def run(name: str, settings: Settings, stain: str) -> Result:
            out = Path(folder) / name
            return score_slide(ScoreRequest(image.path, out, settings, mpp=image.mpp, stain=stain, roi=region))[0]

        result = run("asked", load_settings("serial", values), "auto")
        forced = run("forced", load_settings("serial", values | {"rule.min_cells": 1, "rule.min_tiles": 1}), "ihc")
        if chosen.pictures:
            write_sheet(chosen.pictures, image, result, Path(folder) / "forced")
        return Judged(image, result, forced, measure_ridges(image, region))


def measure_ridges(image: Labelled, region: Path | None) -> Ridges:
    """Return the ridge index over the tissue that the product itself would score."""
    request = ScoreRequest(image.path, Path("unused"), load_settings("serial", {}), mpp=image.mpp, roi=region)
    with open_slide(image.path, mpp=image.mpp) as slide:
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        survey = survey_slide(slide, grid, request)
        rgb = slide.overview(1).rgb
    tissue = survey.tissue_at(grid, MASK_PX)
    rows = (np.arange(rgb.shape[0]) / (MASK_PX * grid.ratio[1])).astype(int)
    columns = (np.arange(rgb.shape[1]) / (MASK_PX * grid.ratio[0])).astype(int)
    return ridge_index(rgb, image.mpp, survey.white.rgb, tissue[np.ix_(rows, columns)])


def weights_of(rows: list[Judged]) -> np.ndarray:
    """Return the weight of each picture: 1 over the number of its case's pictures."""
    count = Counter((row.image.site, row.image.case) for row in rows)
    return np.array([1 / count[row.image.site, row.image.case] for row in rows])


def ridge_classes(rows: list[Judged], site: str) -> np.ndarray:
    """Return the classes of a site's pictures by the ridge index, its cut-offs chosen on all other sites."""
    others = [row for row in rows if row.image.site != site]
    cuts = best_cuts(
        np.array([row.ridges.share for row in others]),
        np.array([row.image.label for row in others]),
        weights_of(others),
    )
    return np.searchsorted(np.array(cuts), [row.ridges.share for row in rows if row.image.site == site])


def print_images(rows: list[Judged]) -> None:
    """Print one line per picture."""
    print("| site | picture | label | score | confidence | forced | 0 | 1+ | 2i | 2+ | 3+ | cells | ridges % | note |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        shares = row.forced.shares or dict.fromkeys(("0", "1+", "2i", "2+", "3+"), 0.0)
        said = row.result.score + (", borderline" if row.result.borderline else "")
        listed = " | ".join(f"{shares[name]:.0f}" for name in ("0", "1+", "2i", "2+", "3+"))
        name = row.image.path.stem.split("-TissueId")[0][:14]
        note = row.image.doubt or ("CONFIDENT WRONG" if row.confident_wrong else "")
        print(
            f"| {row.image.site} | {name} | {HER2_CLASSES[row.image.label]} | {said} | {row.result.confidence} | "
            f"{HER2_CLASSES[row.forced_class]} | {listed} | {row.forced.cells.tumour} | {100 * row.ridges.share:.1f} | "
            f"{note} |"
        )


def figures(matrix: np.ndarray) -> str:
    """Return exact, adjacent, quadratic kappa and 3+ against the rest as table cells."""
    values = (accuracy(matrix), accuracy(matrix, 1), weighted_kappa(matrix, 2), accuracy_at(matrix, 3))
    return " | ".join("-" if np.isnan(value) else f"{float(value):.2f}" for value in values)


def print_site(site: str, rows: list[Judged], ridge: np.ndarray) -> None:
    """Print the lines of one site: the product, the product forced, the ridge index."""
    weight = weights_of(rows)
    label = np.array([row.image.label for row in rows])
    known = np.array([row.result.score != REFUSED for row in rows])
    score = np.array([HER2_CLASSES.index(row.result.score) for row in rows if row.result.score != REFUSED], dtype=int)
    wrong = sum(weight[i] for i, row in enumerate(rows) if row.confident_wrong)
    size = f"{len(rows)}, {len({row.image.case for row in rows})}"
    refused = f"{weight[~known].sum():.1f} of {weight.sum():.0f}"
    product = figures(confusion(label[known], score, weight[known]))
    print(f"| {site} | {size} | product | {product} | {refused} | {wrong:.1f} |")
    forced = confusion(label, np.array([row.forced_class for row in rows]), weight)
    print(f"| {site} | {size} | product, forced | {figures(forced)} | | |")
    tiles = np.array([-1 if row.tiles_class is None else row.tiles_class for row in rows])
    if (judged := tiles >= 0).any():
        matrix = confusion(label[judged], tiles[judged], weight[judged])
        none = f"{weight[~judged].sum():.1f} of {weight.sum():.0f}"
        print(f"| {site} | {size} | tiles, forced | {figures(matrix)} | {none} | |")
    print(f"| {site} | {size} | ridge index | {figures(confusion(label, ridge, weight))} | | |")


def print_order(rows: list[Judged]) -> None:
    """Print how well each measure orders the pictures of a site, and how the H-score meets HER2 status."""
    print("\n| site | Spearman, H-score | share of complete cells | ridge q95 |\n|---|---|---|---|")
    for site in (*dict.fromkeys(row.image.site for row in rows), "all"):
        here = [row for row in rows if site in (row.image.site, "all")]
        label = [row.image.label for row in here]
        shares = [row.forced.shares or {} for row in here]
        measures = (
            [row.forced.h_score or 0.0 for row in here],
            [share.get("2+", 0.0) + share.get("3+", 0.0) for share in shares],
            [row.ridges.q95 for row in here],
        )
        same = len(set(label)) == 1
        values = ["-" if same or len(set(m)) == 1 else f"{spearmanr(label, m).statistic:.2f}" for m in measures]
        print(f"| {site} | {' | '.join(values)} |")
    cores = [row for row in rows if row.image.status is not None]
    status = np.array([row.image.status == 1 for row in cores])
    for name, values in (
        ("H-score", [row.forced.h_score or 0.0 for row in cores]),
        ("ridge q95", [row.ridges.q95 for row in cores]),
    ):
        if status.any() and not status.all():
            ranks, positive = rankdata(values), int(status.sum())
            area = (ranks[status].sum() - positive * (positive + 1) / 2) / (positive * int((~status).sum()))
            print(f"\n{name} against HER2 status on {len(cores)} cores: AUC {area:.2f}")


def print_tables(rows: list[Judged]) -> None:
    """Print the table by site, all sites together, and the order of the pictures."""
    doubted = [row for row in rows if row.image.doubt]
    rows = [row for row in rows if not row.image.doubt]
    print("\n| site | pictures, cases | who | exact | adjacent | kappa | 3+ or not | refused | confident wrong |")
    print("|---|---|---|---|---|---|---|---|---|")
    ridge = np.zeros(len(rows), int)
    for site in dict.fromkeys(row.image.site for row in rows):
        at = [i for i, row in enumerate(rows) if row.image.site == site]
        ridge[at] = ridge_classes(rows, site)
        print_site(site, [rows[i] for i in at], ridge[at])
    print_site("all", rows, ridge)
    print_order(rows)
    print_doubt(
        [
            Scored(row.image.site, row.image.case, row.image.label, row.result)
            for row in rows
            if row.result.score != REFUSED
        ]
    )
    print("\nLabels in doubt, left out above:")
    for row in doubted:
        label, score = HER2_CLASSES[row.image.label], row.result.score
        print(f"- {row.image.site} {row.image.path.stem[:14]}, {label}: {score} ({row.image.doubt})")


def record_of(row: Judged) -> dict[str, object]:
    """Return what is kept of a picture for comparisons."""
    return {
        "site": row.image.site,
        "picture": row.image.path.name,
        "label": row.image.label,
        "score": row.result.score,
        "confidence": row.result.confidence,
        "borderline": row.result.borderline,
        "score_moves": row.result.score_moves,
        "confidence_reasons": row.result.confidence_reasons,
        "forced": row.forced_class,
        "tiles": row.tiles_class,
        "shares": row.forced.shares,
        "cells": row.forced.cells.tumour,
        "ridges": row.ridges._asdict(),
    }


def main() -> None:
    """Judge every picture and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("WSI_HER2_DATA"), help="or set WSI_HER2_DATA")
    parser.add_argument("--evidence", default="cells", help="what the score rests on, as in wsi-her2 run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the product")
    parser.add_argument("--images", action="store_true", help="print one line per picture too")
    parser.add_argument("--json", type=Path, help="file for one record per picture")
    parser.add_argument("--pictures", type=Path, help="folder for overlays with the cells that decide")
    parser.add_argument("--site", action="append", help="only these sites")
    chosen = parser.parse_args()
    if chosen.data is None:
        parser.error("name the folder of real images: --data DIR")
    images = [image for image in labelled_images(Path(chosen.data)) if not chosen.site or image.site in chosen.site]
    rows = [judge(image, chosen) for image in images]
    if chosen.images:
        print_images(rows)
    print_tables(rows)
    if chosen.json:
        found = [record_of(row) for row in rows]
        chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
