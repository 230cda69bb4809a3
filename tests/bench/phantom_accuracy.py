"""Score phantoms of unseen seeds and print what came out beside what is true.

Usage: python tests/bench/phantom_accuracy.py [--seeds 40] [--first 1000] [--size 2710 1907]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.training.phantom.phantom import make_phantom
from wsi_pipeline.training.phantom.presets import TARGETS, random_options
from wsi_pipeline.training.phantom.slide import write_slide

NAMES = ("0", "1+", "2i", "2+", "3+")


def score_one(task: tuple[int, str, str, tuple[int, int]]) -> dict[str, Any]:
    """Make one phantom, run the product on it, and return truth and result."""
    seed, target, palette, size = task
    options = random_options(seed, target, size, palette)
    with tempfile.TemporaryDirectory() as folder:
        phantom = make_phantom(options)
        slide = write_slide(phantom, Path(folder) / "phantom.svs")
        settings = load_settings("serial", {})
        start = time.perf_counter()
        result, _ = score_slide(ScoreRequest(slide, Path(folder) / "run", settings))
    truth = phantom.truth()
    shares = result.shares or dict.fromkeys(NAMES, 0.0)
    return {
        "seed": seed,
        "target": target,
        "palette": palette,
        "white": options.optics.white[0],
        "rotation": options.tissue.rotation_deg,
        "true": truth["category"],
        "found": result.category,
        "borderline": result.borderline,
        "cells": (truth["tumour_cells"], result.cells.tumour),
        "difference": [shares[name] - truth["shares"][name] for name in NAMES],
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    """Print one line per phantom and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(2710, 1907))
    parser.add_argument("--palette", choices=("reference", "field", "both"), default="both")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    targets = list(TARGETS)
    palettes = ("reference", "field") if chosen.palette == "both" else (chosen.palette,)
    tasks = [
        (chosen.first + i, targets[i % len(targets)], palettes[(i // len(targets)) % len(palettes)], tuple(chosen.size))
        for i in range(chosen.seeds)
    ]
    print(
        f"{'seed':>5} {'target':>9} {'palette':>9} {'white':>5} {'turn':>4} {'true':>10} {'found':>10} {'cells':>11}",
        end="",
    )
    print("  found minus true, points: " + " ".join(f"{name:>6}" for name in NAMES) + "  mean")
    rows = []
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
        for row in pool.map(score_one, tasks):
            rows.append(row)
            mark = " " if row["true"] == row["found"] else ("b" if row["borderline"] else "X")
            print(
                f"{row['seed']:>5} {row['target']:>9} {row['palette']:>9} {row['white']:>5.0f} {row['rotation']:>4.0f} "
                f"{row['true']:>10} {row['found']:>10} {row['cells'][0]:>5}/{row['cells'][1]:<5}{mark}"
                + " " * 26
                + " ".join(f"{value:>6.1f}" for value in row["difference"])
                + f" {np.abs(row['difference']).mean():>5.1f}",
                flush=True,
            )
    right = sum(row["true"] == row["found"] for row in rows)
    errors = np.abs([row["difference"] for row in rows])
    print(f"\nright category: {right} of {len(rows)}")
    print(
        "mean absolute error, points: "
        + ", ".join(f"{n} {e:.2f}" for n, e in zip(NAMES, errors.mean(axis=0), strict=True))
    )
    print(f"over all shares: {errors.mean():.2f} points; worst phantom {errors.mean(axis=1).max():.2f}")
    print(f"median seconds a phantom: {np.median([row['seconds'] for row in rows]):.1f}")


if __name__ == "__main__":
    main()
