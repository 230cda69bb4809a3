"""Hold tissue area and outline against a silhouette, and count cells outside it, on samples, phantoms and real cores.

Usage: python tests/bench/tissue_outline.py [--seeds 42] [--first 3000] [--data DIR] [--no-cells]

The silhouette of a phantom is its own truth. That of a core (DIR/her2/cores) is drawn at 1 um/px by other means than
the product's: density, smoothed over 4 um, clearly over that of the picture's corners; gaps of 50 um closed, the
largest part, filled. Distances are those of the mask's outline from the silhouette's, um.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.flows.survey import Survey, survey_slide
from wsi_pipeline.slide import open_slide
from wsi_pipeline.tiling import make_grid
from wsi_pipeline.training.phantom.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import PRESETS, TARGETS, random_options
from wsi_pipeline.training.phantom.slide import write_slide

Mask = NDArray[np.bool_]
SAMPLES = Path(__file__).resolve().parents[2] / "sample_slides"
SETTINGS = load_settings("serial", {})
CORE_MPP = 0.25


def look(path: Path, mpp: float | None = None) -> Survey:
    """Return what the product sees at a first look."""
    request = ScoreRequest(path, path.parent / "run", SETTINGS, mpp=mpp, stain="ihc" if mpp else "auto")
    with open_slide(path, mpp=mpp) as slide:
        return survey_slide(slide, make_grid(slide.info.size_l0, slide.info.mpp, SETTINGS.tiling), request)


def at_um(survey: Survey, mpp: float, shape: tuple[int, ...], step_um: float) -> Mask:
    """Return the tissue mask (h, w) on a grid of `shape`, cells of `step_um`."""
    per_px = mpp * survey.downsample
    places = [((np.arange(side) + 0.5) * step_um / per_px).astype(int) for side in shape]
    rows, columns = (part.clip(0, most - 1) for part, most in zip(places, survey.tissue.mask.shape, strict=True))
    return survey.tissue.mask[np.ix_(rows, columns)]


def signed_um(extent: Mask, step_um: float) -> NDArray[np.float32]:
    """Return how far outside `extent` (h, w) each cell lies, um; below 0 inside."""
    outside, inside = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (~extent, extent))
    return np.asarray((outside - inside) * step_um, dtype=np.float32)


def figures(mask: Mask, truth: Mask, step_um: float) -> str:
    """Return area error and outline distances as text."""
    rim = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) == 0
    away = signed_um(truth, step_um)[mask & rim]
    out, within = np.maximum(away, 0), np.maximum(-away, 0)
    area = 100 * (float(mask.sum()) / float(truth.sum()) - 1)
    return (
        f"{area:>+7.1f} {np.abs(away).mean():>6.1f} {np.percentile(out, 95):>6.1f} {out.max():>6.1f}"
        f" {np.percentile(within, 95):>6.1f} {within.max():>6.1f}"
    )


def cells_outside(path: Path, truth: Mask, step_um: float, mpp: float) -> str:
    """Return how many of the tumour cells found, and of all, lie outside the silhouette."""
    with tempfile.TemporaryDirectory() as folder:
        score_slide(ScoreRequest(path, Path(folder) / "run", SETTINGS))
        table = pq.read_table(Path(folder) / "run" / "cells.parquet", columns=["x_l0", "y_l0", "tumour"])
    column, row = ((table[name].to_numpy() * mpp / step_um).astype(int) for name in ("x_l0", "y_l0"))
    outside = ~truth[row.clip(0, truth.shape[0] - 1), column.clip(0, truth.shape[1] - 1)]
    tumour = table["tumour"].to_numpy(zero_copy_only=False).astype(bool)
    return f"{(outside & tumour).sum():>4} of {tumour.sum():<5} {outside.sum():>4} of {len(tumour):<5}"


def core_silhouette(path: Path) -> Mask:
    """Return the extent of the core of a picture (h, w), 1 um cells; see the module."""
    picture = cv2.imread(str(path))
    height, width = (int(side * CORE_MPP) for side in picture.shape[:2])
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    density = cv2.GaussianBlur(-np.log10(np.maximum(small, 1)).mean(axis=2), (0, 0), 4.0)
    corners = np.concatenate([density[:90, :90], density[:90, -90:], density[-90:, :90], density[-90:, -90:]])
    glass = float(np.percentile(corners, 25))
    dark = (density > glass + 0.006).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (51, 51))
    edged = cv2.copyMakeBorder(dark, 51, 51, 51, 51, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(cv2.morphologyEx(edged, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)[51:-51, 51:-51]
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea)
    return np.asarray(cv2.drawContours(np.zeros_like(closed), [largest], -1, 1, cv2.FILLED) > 0)


def main() -> None:
    """Print one line per slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=42)
    parser.add_argument("--first", type=int, default=3000)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WSI_HER2_DATA", "../shared/data")))
    parser.add_argument("--no-cells", action="store_true", help="masks only")
    chosen = parser.parse_args()
    print(f"{'':24}   area            outside           inside    cells outside")
    print(f"{'slide':24}      %   mean    95 %    max   95 %    max   tumour        all")
    names = list(TARGETS)
    seeds = [
        random_options(chosen.first + i, names[i % len(names)], palette=("reference", "field")[i // len(names) % 2])
        for i in range(chosen.seeds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for options in (*PRESETS.values(), *seeds):
            phantom = make_phantom(options)
            path = SAMPLES / f"{options.name}.svs"
            if not path.exists():
                path = write_slide(phantom, Path(folder) / f"{options.name}.svs")
            truth, step_um = phantom.layout.silhouette(), phantom.layout.step_um
            mask = at_um(look(path), options.mpp_x, truth.shape, step_um)
            cells = "" if chosen.no_cells else cells_outside(path, truth, step_um, options.mpp_x)
            print(f"{options.name:24} {figures(mask, truth, step_um)}  {cells}", flush=True)
            if path.parent != SAMPLES:
                path.unlink()
    for path in sorted((chosen.data / "her2" / "cores").glob("*.jpg")):
        truth = core_silhouette(path)
        print(
            f"core {path.stem[:12]:19} {figures(at_um(look(path, CORE_MPP), CORE_MPP, truth.shape, 1.0), truth, 1.0)}"
        )


if __name__ == "__main__":
    main()
