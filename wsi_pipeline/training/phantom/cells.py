"""Packed cells: seeds, the walls between neighbours, and their outlines as polar tables.

A cell is the intersection of half-planes about its seed: one per neighbour (as in a weighted Voronoi diagram) and a few
tangent to the border of its nest, so that nests end smoothly and no cell is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, cKDTree

from wsi_pipeline.training.phantom.fields import Array
from wsi_pipeline.training.phantom.layout import Layout, Points

BINS = 64
"""Directions of an outline table."""

WALLS = 24
"""Half-planes kept per cell."""

NO_NEIGHBOUR = -1

SIZE_SPREAD = 0.045
"""Spread of the power-diagram weights, in squared spacings: large cells push their walls into small ones."""

_ANGLES = np.arange(BINS) * (2 * np.pi / BINS)
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
"""Unit vectors of the table bins, (2, BINS)."""


@dataclass(frozen=True)
class Packing:
    """n packed cells: seeds (n, 2) um; wall normals (n, WALLS, 2), distances (n, WALLS) um, neighbour index or -1."""

    seeds: Points
    normals: NDArray[np.float32]
    distances: NDArray[np.float32]
    neighbours: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.seeds)


@dataclass(frozen=True)
class Outlines:
    """Polar tables of some cells, all (n, BINS): hard and rounded radius um, cosine to the wall, facing neighbour."""

    hard: Array
    rounded: Array
    cosine: Array
    facing: NDArray[np.int32]


def pack(layout: Layout, field: Array, diameter_um: float, rng: np.random.Generator) -> Packing:
    """Fill the inside of `field` (signed distance, um) with cells of about the area of a `diameter_um` circle."""
    spacing_um = diameter_um * 0.92
    seeds = _seeds(layout, field, spacing_um, rng)
    n = len(seeds)
    normals = np.zeros((n, WALLS, 2), dtype=np.float32)
    normals[..., 0] = 1
    distances = np.full((n, WALLS), 1e6, dtype=np.float32)
    neighbours = np.full((n, WALLS), NO_NEIGHBOUR, dtype=np.int32)
    if n:
        border_n, border_h = _border_walls(layout, field, seeds, spacing_um)
        used = border_h.shape[1]
        normals[:, :used], distances[:, :used] = border_n, border_h
        if n >= 4:
            weights = rng.normal(0, SIZE_SPREAD * spacing_um**2, n)
            _add_bisectors((normals, distances, neighbours), seeds, weights, used, 3.0 * spacing_um)
    return Packing(seeds, normals, distances, neighbours)


def outlines(packing: Packing, index: NDArray[np.int64], loose_um: float = 0.0) -> Outlines:
    """Return the polar tables of the cells `index`; corners are rounded by a soft minimum over the walls.

    `loose_um` moves the walls at the nest border outwards, for a caller that cuts them by the border itself.
    """
    distances = packing.distances[index]
    distances = np.where(packing.neighbours[index] < 0, distances + np.float32(loose_um), distances)
    projected = np.maximum(packing.normals[index] @ DIRECTIONS.astype(np.float32), 1e-6)
    inverse = projected / distances[..., None]
    wall = np.argmax(inverse, axis=1)
    hardest = np.take_along_axis(inverse, wall[:, None, :], axis=1)[:, 0]
    squared = (inverse / hardest[:, None, :]) ** 2
    power16 = np.square(np.square(np.square(squared)))
    rounded = 1.0 / (hardest * power16.sum(axis=1) ** np.float32(1 / 16))
    cosine = np.take_along_axis(projected, wall[:, None, :], axis=1)[:, 0]
    facing = np.take_along_axis(packing.neighbours[index], wall, axis=1)
    return Outlines(
        (1.0 / hardest).astype(np.float32),
        rounded.astype(np.float32),
        cosine.astype(np.float32),
        facing.astype(np.int32),
    )


def _seeds(layout: Layout, field: Array, spacing_um: float, rng: np.random.Generator) -> Points:
    """Return relaxed random seeds (n, 2), um: a jittered lattice that pushes itself apart and off the border."""
    height, width = np.array(field.shape) * layout.step_um
    row_um = spacing_um * np.sqrt(3) / 2
    y, x = np.mgrid[0 : height + row_um : row_um, 0 : width + spacing_um : spacing_um]
    x[1::2] += spacing_um / 2
    points = np.stack([x.ravel(), y.ravel()], axis=1) + rng.normal(0, 0.30 * spacing_um, (x.size, 2))
    points = points[layout.sample(field, points[:, 0], points[:, 1]) > 0.2 * spacing_um]
    for again in range(3):
        points = _relaxed(layout, field, points, spacing_um)
        if again < 2:
            points = np.concatenate([points, _holes(layout, field, points, spacing_um, rng)])
    return np.asarray(points)


def _relaxed(layout: Layout, field: Array, points: Points, spacing_um: float) -> Points:
    """Push points apart and off the border, then drop those that are still too close."""
    if not len(points):
        return points
    keep_um = 0.44 * spacing_um
    for _ in range(3):
        points = _push_apart(points, spacing_um)
        depth = layout.sample(field, points[:, 0], points[:, 1]).astype(np.float64)
        short = np.maximum(keep_um - depth, 0)[:, None]
        points = points + short * layout.gradient(field, points)
    points = points[layout.sample(field, points[:, 0], points[:, 1]) > 0.8 * keep_um]
    if len(points) > 1:
        pairs = cKDTree(points).query_pairs(0.76 * spacing_um, output_type="ndarray")
        points = np.delete(points, np.unique(pairs.max(axis=1)), axis=0) if len(pairs) else points
    return points


def _holes(layout: Layout, field: Array, points: Points, spacing_um: float, rng: np.random.Generator) -> Points:
    """Return places (n, 2) inside `field` that are far from every seed, so that no cell grows too large."""
    height, width = np.array(field.shape) * layout.step_um
    y, x = np.mgrid[0 : height : spacing_um / 5, 0 : width : spacing_um / 5]
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    places = rng.permutation(places[layout.sample(field, places[:, 0], places[:, 1]) > 0.36 * spacing_um])
    if len(points) and len(places):
        places = places[cKDTree(points).query(places)[0] > 0.74 * spacing_um]
    if len(places) > 1:
        pairs = cKDTree(places).query_pairs(0.8 * spacing_um, output_type="ndarray")
        places = np.delete(places, np.unique(pairs.max(axis=1)), axis=0) if len(pairs) else places
    return np.asarray(places)


def _push_apart(points: Points, spacing_um: float) -> Points:
    """Move each point away from neighbours that are closer than `spacing_um`."""
    if len(points) < 8:
        return points
    distance, index = cKDTree(points).query(points, k=7)
    away = points[:, None, :] - points[index[:, 1:]]
    push = np.maximum(spacing_um - distance[:, 1:], 0) / np.maximum(distance[:, 1:], 1e-6)
    return np.asarray(points + 0.16 * (away * push[..., None]).sum(axis=1))


def _border_walls(
    layout: Layout, field: Array, seeds: Points, spacing_um: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return walls tangent to the border, normals (n, 7, 2) and distances (n, 7): the border seen from 7 places."""
    normals, distances = [], []
    for k in range(7):
        step = 0.5 * spacing_um * np.array([np.cos(k * np.pi / 3), np.sin(k * np.pi / 3)]) if k < 6 else np.zeros(2)
        at = seeds + step
        normal = -layout.gradient(field, at)
        distance = normal @ step + layout.sample(field, at[:, 0], at[:, 1])
        normals.append(normal)
        distances.append(np.where(distance < 2 * spacing_um, np.maximum(distance, 0.3 * spacing_um), 1e6))
    return np.stack(normals, axis=1).astype(np.float32), np.stack(distances, axis=1).astype(np.float32)


def _add_bisectors(
    walls: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]],
    seeds: Points,
    weights: NDArray[np.float64],
    used: int,
    reach_um: float,
) -> None:
    """Add the weighted bisectors to Delaunay neighbours within `reach_um` after `used` walls, nearest first."""
    normals, distances, neighbours = walls
    indptr, indices = Delaunay(seeds).vertex_neighbor_vertices
    source = np.repeat(np.arange(len(seeds)), np.diff(indptr))
    delta = seeds[indices] - seeds[source]
    length = np.linalg.norm(delta, axis=1)
    keep = length < reach_um
    source, target, delta, length = source[keep], indices[keep], delta[keep], length[keep]
    order = np.lexsort((length, source))
    source, target, delta, length = source[order], target[order], delta[order], length[order]
    first = np.searchsorted(source, source, side="left")
    slot = np.arange(len(source)) - first + used
    fits = slot < WALLS
    source, slot = source[fits], slot[fits]
    normals[source, slot] = (delta / length[:, None])[fits]
    shift = (weights[source] - weights[target[fits]]) / (2 * length[fits])
    distances[source, slot] = length[fits] / 2 + np.clip(shift, -0.14 * length[fits], 0.14 * length[fits])
    neighbours[source, slot] = target[fits]
