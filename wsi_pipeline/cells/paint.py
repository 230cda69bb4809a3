"""Cells as a picture: every map pixel takes the class of the nearest tumour cell that is close enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.measure import Measurement
from wsi_pipeline.geometry import Box

CELL_RADIUS_UM = 5.0
"""How far around a nucleus' centre its cell is painted, um (a tumour cell is 10-15 um wide)."""

UNPAINTED = 255
"""Value of map pixels without a tumour cell."""


def paint_classes(measured: Measurement, counted: NDArray[np.bool_], core: Box, map_px: int) -> NDArray[np.uint8]:
    """Return the class map of `core` (px of the measured image), one pixel per `map_px` px, (h, w) uint8.

    `counted` (N,) says which of the measured cells are shown. Values index CELL_CLASSES, or are UNPAINTED. Cells of the
    halo are not known by class, so a cell whose centre lies outside the core is not painted into it.
    """
    nuclei = measured.nuclei
    centre_y = core.y + np.arange(0, core.height, map_px) + map_px // 2
    centre_x = core.x + np.arange(0, core.width, map_px) + map_px // 2
    rows = np.minimum(centre_y // nuclei.step, nuclei.owner.shape[0] - 1)
    columns = np.minimum(centre_x // nuclei.step, nuclei.owner.shape[1] - 1)
    owner = nuclei.owner[np.ix_(rows, columns)].astype(np.int64)
    near = nuclei.distance[np.ix_(rows, columns)] * 0.5 * (nuclei.mpp.x + nuclei.mpp.y) <= CELL_RADIUS_UM
    table = np.full(len(nuclei.column) + 1, UNPAINTED, np.uint8)
    table[measured.number[counted]] = measured.cells.class_index[counted]
    return np.where(near, table[owner], UNPAINTED).astype(np.uint8)
