"""From measurements to classes: HER2 class per cell, and which cells are tumour.

Cell classes of the ASCO/CAP wording: 3 complete and intense; 2 complete, weak to moderate; 2i incomplete but moderate
to intense; 1 incomplete and faint; 0 none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.membrane import Membrane, Nucleus
from wsi_pipeline.cells.options import AssayProfile, CellOptions

LATERAL_SHARE = 0.5
"""Of the directions that a complete membrane is asked for: two of a cell's four sides."""

CELL_CLASSES = ("0", "1", "2i", "2", "3")
"""Names of the classes; a cell's `class_index` is its place in this list, which goes by strength."""


def classify_membrane(membrane: Membrane, assay: AssayProfile) -> NDArray[np.uint8]:
    """Return the index into CELL_CLASSES (N,) uint8 from completeness and intensity."""
    complete = membrane.completeness >= assay.complete
    stained = membrane.completeness >= assay.stained
    choices = [
        complete & (membrane.intensity >= assay.intense),
        complete,
        stained & (membrane.intensity >= assay.moderate),
        stained,
    ]
    return np.select(choices, [4, 3, 2, 1], 0).astype(np.uint8)


def classify_lateral(
    completeness: NDArray[np.float32], intensity: NDArray[np.float32], assay: AssayProfile
) -> NDArray[np.uint8]:
    """Return the class (N,) uint8 where lateral and basolateral staining counts like complete staining, without 2i.

    A glandular cell is stained on two or three of its four sides (Hofmann 2008), so half of what makes a membrane
    complete is enough. Fainter is what lies below the middle, by ratio, between the least visible and moderate. What is
    faint, or stained over less than that, is class 1 ("faint", "reactive only in part of the membrane").
    """
    weak = float(np.sqrt(assay.faint * assay.moderate))
    lateral = completeness >= LATERAL_SHARE * assay.complete
    stained = completeness >= min(assay.stained, LATERAL_SHARE * assay.complete)
    return np.select(
        [lateral & (intensity >= assay.intense), lateral & (intensity >= weak), stained], [4, 3, 1], 0
    ).astype(np.uint8)


def is_tumour(
    nucleus: Nucleus,
    hematoxylin: NDArray[np.float32],
    membrane: Membrane,
    assay: AssayProfile,
    options: CellOptions,
) -> NDArray[np.bool_]:
    """Say which cells (N,) count as tumour, by nuclear form.

    The rule: a nucleus is not tumour when it is too small, too elongated (stroma, vessel), or small and dense
    (lymphocyte). A cell with a complete membrane is tumour whatever its nucleus, unless that is too small: neither
    stroma nor lymphocytes express HER2 on a complete membrane.
    """
    large_enough = nucleus.area >= options.tumour_min_area_um2
    spindle = nucleus.elongation > options.tumour_max_elongation
    lymphocyte = (nucleus.area <= options.lymphocyte_max_area_um2) & (hematoxylin >= options.lymphocyte_min_hematoxylin)
    ringed = membrane.completeness >= assay.complete
    return np.asarray(large_enough & (ringed | ~(spindle | lymphocyte)))
