"""Clusters of stained cells: what a biopsy of a gastroesophageal tumour is scored by.

Cells are joined by the distance of their centres on the slide, so a cluster may lie across tiles and regions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.scoring.rule import Clusters

LEAST_CLASS = (1, 3, 4)
"""Index of the least cell class (of 0, 1, 2i, 2, 3) that is at least faint, moderate and strong."""


def largest_clusters(place_um: NDArray[np.float64], classes: NDArray[np.integer], reach_um: float) -> Clusters:
    """Return the largest cluster of each strength, of tumour cells at `place_um` (N, 2) with `classes` (N,).

    Cells of a cluster are each at most `reach_um` from another of them; a cell of a weaker class joins none.
    """
    return Clusters(*(_largest(place_um[classes >= least], reach_um) for least in LEAST_CLASS))


def _largest(place_um: NDArray[np.float64], reach_um: float) -> int:
    """Return how many of the cells at `place_um` (N, 2) the largest cluster has."""
    count = len(place_um)
    if count == 0:
        return 0
    from scipy.sparse import coo_array  # noqa: PLC0415 - 0.3 s, and warning filters, for biopsies alone
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415
    from scipy.spatial import cKDTree  # noqa: PLC0415

    first, second = cKDTree(place_um).query_pairs(reach_um, output_type="ndarray").T
    joined = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    cluster = connected_components(joined, directed=False)[1]
    return int(np.bincount(cluster).max())
