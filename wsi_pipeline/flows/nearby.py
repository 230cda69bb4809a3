"""What a slide's cells would score under other cut-offs, and whether they are like any that the product was held to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import CELL_CLASSES, classify_lateral, classify_membrane
from wsi_pipeline.cells.membrane import Membrane
from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.flows.tile_region import Columns
from wsi_pipeline.geometry import Mpp
from wsi_pipeline.scoring.clusters import largest_clusters
from wsi_pipeline.scoring.moved import Move, moves, nearest_scores
from wsi_pipeline.scoring.rule import RuleOptions, Score, apply_cluster_rule, apply_rule
from wsi_pipeline.scoring.slide_score import SlideScore, shares_of

KNOWN_CELLS_PER_MM2 = (500.0, 10_000.0)
"""Tumour cells per mm2 of tissue: the real images that were scored rightly have 790 to 7,900."""

KNOWN_HEMATOXYLIN_OD = (0.04, 0.35)
"""Median hematoxylin of tumour nuclei, OD: those images have 0.06 to 0.25, phantoms up to 0.3."""


def scores_nearby(
    score: SlideScore, cells: Columns, assay: AssayProfile, rule: RuleOptions, mpp_l0: Mpp
) -> dict[Score, Move | None]:
    """Return the scores that the slide is near, of the scored tumour cells; what is not evaluable is near none."""
    if score.score == "not evaluable" or not cells:
        return {}
    chosen = cells["scored"] & cells["tumour"]
    place_um = np.stack([cells["x_l0"][chosen] * mpp_l0.x, cells["y_l0"][chosen] * mpp_l0.y], axis=1)

    def scored(move: Move) -> Score:
        classes = moved_classes(cells["completeness"][chosen], cells["intensity_od"][chosen], move, assay, rule)
        if rule.by_clusters:
            return apply_cluster_rule(largest_clusters(place_um, classes, rule.cluster_um), rule).score
        return apply_rule(shares_of(np.bincount(classes, minlength=len(CELL_CLASSES))), rule).score

    return nearest_scores(score.score, {move: scored(move) for move in moves()})


def moved_classes(
    completeness: NDArray[np.float32],
    intensity: NDArray[np.float32],
    move: Move,
    assay: AssayProfile,
    rule: RuleOptions,
) -> NDArray[np.uint8]:
    """Return the classes (N,) of cells as if they were stained by `move` more; what was not found stays unstained."""
    denser = intensity * np.float32(move.density)
    seen = (completeness > 0) & (denser >= assay.faint)
    more = np.where(seen, completeness + np.float32(move.completeness), 0).astype(np.float32)
    if rule.counts_lateral:
        return classify_lateral(more, denser, assay)
    rays = np.zeros((len(more), 0))
    membrane = Membrane(
        more, denser, np.zeros_like(more), rays.astype(bool), rays.astype(np.float32), rays.astype(np.int64)
    )
    return classify_membrane(membrane, assay)


def unlike_known(score: SlideScore, cells: Columns, tissue_mm2: float) -> tuple[str, ...]:
    """Return in words which figures of the slide lie outside those of the images that the product was held to."""
    if score.score == "not evaluable" or not cells:
        return ()
    found = []
    least, most = KNOWN_CELLS_PER_MM2
    density = score.tumour_cells / tissue_mm2
    if not least <= density <= most:
        found.append(f"{density:,.0f} tumour cells per mm2 of tissue, known are {least:,.0f} to {most:,.0f}")
    least, most = KNOWN_HEMATOXYLIN_OD
    blue = float(np.median(cells["hematoxylin_od"][cells["scored"] & cells["tumour"]]))
    if not least <= blue <= most:
        found.append(f"nuclei of {blue:.2f} OD of hematoxylin, known are {least:g} to {most:g}")
    return tuple(found)
