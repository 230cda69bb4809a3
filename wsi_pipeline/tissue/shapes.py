"""Areas as shapely geometries: built from rings, repaired, combined and taken apart into edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from wsi_pipeline.geometry import Size

Ring = Sequence[Sequence[float]]


FARTHEST_PX = 1e12
"""Largest coordinate that is taken, px: far beyond any slide, and its square still adds up."""


def polygon_of(rings: Sequence[Ring]) -> BaseGeometry | None:
    """Return the polygon of `rings`, the outline and its holes, each a list of [x, y], closed or not.

    None when the outline has fewer than three different points, or all on one line. Raises ValueError when the
    coordinates are none.
    """
    outline, *holes = [_points(ring) for ring in rings] or [np.empty((0, 2))]
    if not _has_corners(outline):
        return None
    try:
        polygon: BaseGeometry = shapely.Polygon(outline, [hole for hole in holes if _has_corners(hole)])
    except shapely.errors.ShapelyError as error:
        raise ValueError(str(error)) from error
    return polygon


def _points(ring: Ring) -> npt.NDArray[np.float64]:
    """Return the points (N, 2) of a ring. Raises ValueError for what is no list of pairs of finite numbers."""
    if not isinstance(ring, list) or not all(isinstance(point, list) and len(point) >= 2 for point in ring):
        raise ValueError("a ring is no list of [x, y]")
    numbers = [value for point in ring for value in point[:2]]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers):
        raise ValueError("a coordinate is no number")
    if not all(-FARTHEST_PX <= value <= FARTHEST_PX for value in numbers):  # nor NaN
        raise ValueError("a coordinate is not a finite number, or far beyond any slide")
    return np.asarray(numbers, dtype=np.float64).reshape(-1, 2)


def _has_corners(points: npt.NDArray[np.float64]) -> bool:
    """Tell whether there are at least three different points, not all on one line."""
    different = np.unique(points, axis=0)
    if len(different) < 3:
        return False
    x, y = (different[1:] - different[0]).T
    return bool((x[0] * y != y[0] * x).any())


def area_of(polygon: BaseGeometry) -> BaseGeometry | None:
    """Return `polygon`, or the areas of its repair where it crosses itself; None where it has no area."""
    if polygon.is_valid:
        return polygon if polygon.area > 0 else None
    parts = [part for part in shapely.get_parts(shapely.get_parts(shapely.make_valid(polygon))) if part.area > 0]
    return union(parts) if parts else None


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
