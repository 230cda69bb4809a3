"""Areas as shapely geometries: built from rings, repaired, combined and taken apart into edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from wsi_pipeline.geometry import Size

Ring = Sequence[Sequence[float]]


def polygon_of(rings: Sequence[Ring]) -> BaseGeometry:
    """Return the polygon of `rings`, the outline and its holes, each a list of [x, y].

    Raises ValueError when the coordinates make no polygon.
    """
    try:
        outline, *holes = (np.asarray(ring, dtype=np.float64)[:, :2] for ring in rings)
        if not all(np.isfinite(ring).all() for ring in (outline, *holes)):
            raise ValueError("a coordinate is not a finite number")
        polygon: BaseGeometry = shapely.Polygon(outline, holes)
    except (TypeError, IndexError, shapely.errors.ShapelyError) as error:
        raise ValueError(str(error)) from error
    return polygon


def area_of(polygon: BaseGeometry) -> BaseGeometry:
    """Return `polygon`, or the areas of its repair where it crosses itself."""
    if polygon.is_valid:
        return polygon
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(polygon)))
    return union([part for part in parts if part.area > 0])


def union(areas: Sequence[BaseGeometry]) -> BaseGeometry:
    """Return the union of `areas`; empty for none."""
    return shapely.union_all(list(areas))


def cut_to_slide(area: BaseGeometry | None, size_l0: Size) -> BaseGeometry:
    """Return the part of `area` on the slide of `size_l0`; the whole slide for None."""
    slide = shapely.box(0, 0, size_l0.width, size_l0.height)
    return slide if area is None else area.intersection(slide)


def contains(area: BaseGeometry, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which points (N,) lie inside `area`, (N,) bool."""
    shapely.prepare(area)
    return np.asarray(shapely.contains_xy(area, x, y), dtype=bool)


def edges_of(area: BaseGeometry) -> npt.NDArray[np.float64]:
    """Return the edges (E, 4) of all rings of `area` as x0, y0, x1, y1 with y0 < y1; level ones are dropped."""
    polygons = [part for part in shapely.get_parts(area) if part.geom_type == "Polygon"]
    points, owner = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    edges = np.hstack([points[:-1], points[1:]])[owner[:-1] == owner[1:]]
    edges = edges[edges[:, 1] != edges[:, 3]]
    falling = edges[:, 1] > edges[:, 3]
    edges[falling] = edges[falling][:, [2, 3, 0, 1]]
    return np.asarray(edges)
