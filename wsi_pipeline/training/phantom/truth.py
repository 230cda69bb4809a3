"""The known answer of a phantom: cells, shares, score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.phantom.options import CLASSES, PhantomOptions, Stain
from wsi_pipeline.training.phantom.render import Scene

SHARE_NAMES = {"0": "0", "1": "1+", "2": "2+", "2i": "2i", "3": "3+"}
"""Names of the classes in reports."""

H_WEIGHTS = {"0": 0, "1": 1, "2": 2, "2i": 2, "3": 3}
"""H-score weights; incomplete but moderate to intense counts as 2."""


@dataclass(frozen=True)
class TumourCells:
    """n tumour cells: nucleus centre (n, 2) um on the slide, class code, whether scored, index of the piece."""

    xy_um: NDArray[np.float64]
    classes: NDArray[np.int8]
    scored: NDArray[np.bool_]
    piece: NDArray[np.int64]

    def counts(self, piece: int | None = None) -> dict[str, int]:
        """Return how many scored cells each class has, or how many cells of one piece."""
        chosen = self.scored if piece is None else self.piece == piece
        found = np.bincount(self.classes[chosen], minlength=len(CLASSES))
        return {name: int(found[k]) for k, name in enumerate(CLASSES)}


def shares_of(counts: dict[str, int]) -> dict[str, float]:
    """Return percent per class under report names, rounded to 0.0001."""
    total = max(sum(counts.values()), 1)
    return {SHARE_NAMES[name]: round(100.0 * count / total, 4) for name, count in counts.items()}


def truth_of(scene: Scene, cells: TumourCells, island_radius_um: float, stain: Stain) -> dict[str, Any]:
    """Return the truth as JSON values; coordinates are level-0 px (pixel i covers [i, i + 1)) and um."""
    options = scene.options
    counts = cells.counts()
    return {
        "name": options.name,
        "what": "synthetic phantom of wsi-her2, not a patient's tissue",
        "seed": options.seed,
        "stain": stain,
        "width": options.width,
        "height": options.height,
        "mpp_x": options.mpp_x,
        "mpp_y": options.mpp_y,
        **_verdict(options, counts, stain),
        "tissue_mm2": round(float(scene.layout.silhouette().sum()) * scene.layout.step_um**2 / 1e6, 4),
        "tumour_cells": sum(counts.values()),
        "other_nuclei": len(scene.nuclei) - len(cells.classes),
        "island": _island(options, island_radius_um),
        "pieces": _pieces(scene, cells),
        "cells": _cells(options, cells),
    }


def _verdict(options: PhantomOptions, counts: dict[str, int], stain: Stain) -> dict[str, Any]:
    """Return score, category, shares and H-score; in H&E nothing shows the class, so no score is right."""
    total = max(sum(counts.values()), 1)
    verdict = {
        "score": options.score,
        "category": options.category,
        "counts": counts,
        "shares": shares_of(counts),
        "h_score": round(100.0 * sum(H_WEIGHTS[k] * v for k, v in counts.items()) / total, 4),
    }
    if stain == "ihc":
        return verdict
    hidden = dict.fromkeys(("counts", "shares", "h_score"))
    return {"score": "not evaluable", "category": "not evaluable", **hidden, "same_tissue_in_ihc": verdict}


def _island(options: PhantomOptions, radius_um: float) -> dict[str, Any] | None:
    """Return where the island is, or None."""
    if options.island is None:
        return None
    island = options.island
    return {"x_um": island.x_um, "y_um": island.y_um, "radius_um": round(radius_um, 3), "class": island.cell_class}


def _pieces(scene: Scene, cells: TumourCells) -> list[dict[str, Any]]:
    """Return kind, place and shares of each piece of tissue."""
    out = []
    for index, piece in enumerate(scene.layout.pieces):
        counts = cells.counts(index)
        place = {"x_um": round(piece.x_um, 2), "y_um": round(piece.y_um, 2)}
        out.append({"kind": piece.kind, **place, "tumour_cells": sum(counts.values()), "shares": shares_of(counts)})
    return out


def _cells(options: PhantomOptions, cells: TumourCells) -> dict[str, Any]:
    """Return the cell table as columns: short in JSON, quick to load."""
    x, y = cells.xy_um[:, 0], cells.xy_um[:, 1]
    return {
        "x_l0": [round(float(v), 1) for v in x / options.mpp_x],
        "y_l0": [round(float(v), 1) for v in y / options.mpp_y],
        "x_um": [round(float(v), 2) for v in x],
        "y_um": [round(float(v), 2) for v in y],
        "class": [CLASSES[k] for k in cells.classes],
        "is_tumour": [True] * len(x),
        "scored": [bool(v) for v in cells.scored],
        "piece": [int(v) for v in cells.piece],
    }
