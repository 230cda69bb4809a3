"""Nuclei as ellipses in micrometres: of tumour cells, fibroblasts, lymphocytes and endothelium, plus red cells."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsi_pipeline.training.phantom.cells import BINS, DIRECTIONS, Packing, outlines
from wsi_pipeline.training.phantom.fields import Array, Waves, rng_for
from wsi_pipeline.training.phantom.layout import Layout, Points
from wsi_pipeline.training.phantom.options import PhantomOptions

KINDS = ("tumour", "fibroblast", "lymphocyte", "endothelium", "red cell")
"""Nucleus kinds in the order of the codes of `Nuclei.kind`; a red cell has no nucleus but is drawn likewise."""

NEST_PULL = 0.8
"""How strongly fibres follow nest borders against their common direction."""

Anywhere = TypeVar("Anywhere", NDArray[np.float32], NDArray[np.float64])

CLEARANCE_UM = 1.0
"""Cytoplasm kept between a tumour nucleus and its cell border."""


@dataclass(frozen=True)
class Nuclei:
    """n ellipses: centre xy (n, 2) um, semi-axes a >= b um, angle rad, hematoxylin OD in IHC, DAB OD, kind code."""

    xy: Points
    a: Array
    b: Array
    angle: Array
    od: Array
    dab: Array
    kind: NDArray[np.int8]

    def __len__(self) -> int:
        """Return the number of nuclei."""
        return len(self.xy)


def joined(parts: list[Nuclei]) -> Nuclei:
    """Return all `parts` as one."""
    return Nuclei(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Nuclei)))


def _nuclei(
    xy: Points, axes: NDArray[np.floating], angle: NDArray[np.floating], od: NDArray[np.floating], kind: str
) -> Nuclei:
    """Bundle arrays of one kind without DAB; `axes` is (n, 2)."""
    n = len(xy)
    a, b, turn, density = (np.asarray(v, dtype=np.float32) for v in (axes[:, 0], axes[:, 1], angle, od))
    return Nuclei(xy, a, b, turn, density, np.zeros(n, dtype=np.float32), np.full(n, KINDS.index(kind), dtype=np.int8))


def tumour_nuclei(options: PhantomOptions, packing: Packing, slim_um: Array) -> Nuclei:
    """Put one oval nucleus into each cell, up to 1 um off its seed, shrunk to keep clear of the border.

    `slim_um` (n,) is further clearance, for cells whose membrane line is thick.
    """
    rng = rng_for(options.seed, "tumour nuclei")
    n = len(packing)
    b = rng.normal(3.35, 0.3, n).clip(2.7, 4.0)
    a = np.minimum(b * rng.uniform(1.05, 1.45, n), 4.6)
    shift = rng.uniform(0, 1.0, n) ** 1.5
    turn = rng.uniform(0, 2 * np.pi, n)
    tilt = rng.normal(0, 0.35, n)
    staining = options.staining
    od = rng.uniform(*staining.nuclear_od, n)
    oval = _Ovals(np.stack([a, b], axis=1), 0.6 * shift * np.stack([np.cos(turn), np.sin(turn)]), tilt)
    xy, angle = oval.fitted(packing, slim_um)
    nuclei = _nuclei(xy, oval.axes, angle, od, "tumour")
    stained = rng.random(n) < staining.nuclear_dab_share
    nuclei.dab[stained] = rng.uniform(*staining.nuclear_dab_od, n)[stained]
    return nuclei


@dataclass(frozen=True)
class _Ovals:
    """Nuclei before they are fitted into cells: axes (n, 2) um, wanted shift (2, n) um, tilt (n,) rad."""

    axes: NDArray[np.float64]
    shift: NDArray[np.float64]
    tilt: NDArray[np.float64]

    def fitted(self, packing: Packing, slim_um: Array) -> tuple[Points, NDArray[np.float64]]:
        """Return centres (n, 2) and angles (n,) along the cells' long axes; shrinks `axes` in place where needed."""
        xy, angle = packing.seeds.copy(), np.zeros(len(packing))
        for low in range(0, len(packing), 4096):
            part = np.arange(low, min(low + 4096, len(packing)))
            radius = outlines(packing, part).rounded.astype(np.float64)
            x, y = radius * DIRECTIONS[0], radius * DIRECTIONS[1]
            weight = radius**2
            centre = np.stack([(x * weight).sum(1), (y * weight).sum(1)], axis=1) / weight.sum(1)[:, None] * 0.66
            x, y = x - centre[:, :1], y - centre[:, 1:]
            angle[part] = 0.5 * np.arctan2(2 * (x * y).sum(1), (x * x - y * y).sum(1)) + self.tilt[part]
            offset = centre + self.shift[:, part].T
            offset *= np.minimum(1, 1 / np.maximum(np.linalg.norm(offset, axis=1), 1e-9))[:, None]
            room = radius - CLEARANCE_UM - slim_um[part, None] - offset @ DIRECTIONS
            local = np.arange(BINS) * (2 * np.pi / BINS) - angle[part, None]
            a, b = self.axes[part, :1], self.axes[part, 1:]
            reach = 1 / np.hypot(np.cos(local) / a, np.sin(local) / b)
            self.axes[part] *= np.clip((room / reach).min(axis=1), 0.62, 1.0)[:, None]
            xy[part] += offset
        return xy, angle


def other_nuclei(options: PhantomOptions, layout: Layout, flow: Waves) -> Nuclei:
    """Place the nuclei of stroma, lymphocyte clusters and vessels; none overlaps another or a nest."""
    rng = rng_for(options.seed, "other nuclei")
    parts = [_endothelium(layout, rng)]
    parts.append(_lymphocytes(layout, rng, joined(parts)))
    parts.append(_fibroblasts(options, layout, flow, joined(parts)))
    parts.append(_red_cells(layout, rng))
    return joined(parts)


def _candidates(layout: Layout, rng: np.random.Generator, spacing_um: float) -> Points:
    """Return a jittered lattice (n, 2) over the layout, um, in random order."""
    height, width = np.array(layout.tissue.shape) * layout.step_um
    y, x = np.mgrid[0:height:spacing_um, 0:width:spacing_um]
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    points += rng.uniform(-0.45, 0.45, points.shape) * spacing_um
    return np.asarray(rng.permutation(points))


def _thinned(points: Points, apart_um: float, taken: Points, taken_um: float) -> NDArray[np.bool_]:
    """Return which points to keep so that they are `apart_um` from each other and `taken_um` from `taken`."""
    keep = np.ones(len(points), dtype=bool)
    if len(points) > 1:
        pairs = cKDTree(points).query_pairs(apart_um, output_type="ndarray")
        for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
            keep[second] &= not keep[first]
    if len(taken) and len(points):
        keep &= cKDTree(taken).query(points)[0] > taken_um
    return keep


def _endothelium(layout: Layout, rng: np.random.Generator) -> Nuclei:
    """Thin nuclei along the wall of each lumen."""
    points = _candidates(layout, rng, 2.0)
    depth = layout.sample(layout.lumen, points[:, 0], points[:, 1])
    points = points[(depth < -1.5) & (depth > -3.0)]
    points = points[_thinned(points, 10.5, np.empty((0, 2)), 0)]
    inward = layout.gradient(layout.lumen, points)
    n = len(points)
    axes = np.stack([rng.uniform(3.6, 4.6, n), rng.uniform(0.95, 1.3, n)], axis=1)
    return _nuclei(
        points, axes, np.arctan2(inward[:, 1], inward[:, 0]) + np.pi / 2, rng.uniform(0.35, 0.55, n), "endothelium"
    )


def _lymphocytes(layout: Layout, rng: np.random.Generator, taken: Nuclei) -> Nuclei:
    """Small round dark nuclei, dense in clusters and a few in stroma."""
    points = _candidates(layout, rng, 4.6)
    x, y = points[:, 0], points[:, 1]
    cluster = layout.sample(layout.lymph, x, y) + rng.normal(0, 6, len(points)) > 0
    free = (layout.sample(layout.nest, x, y) < -4.5) & (layout.sample(layout.tissue, x, y) > 5)
    free &= (layout.sample(layout.lumen, x, y) < -6.5) & (layout.sample(layout.fat, x, y) < -5)
    free &= layout.sample(layout.necrosis, x, y) < -4
    points = points[free & ((cluster & (rng.random(len(points)) < 0.95)) | (rng.random(len(points)) < 0.006))]
    points = points[_thinned(points, 5.5, taken.xy, 8.0)]
    n = len(points)
    b = rng.uniform(2.3, 2.65, n)
    return _nuclei(
        points,
        np.stack([b * rng.uniform(1, 1.1, n), b], axis=1),
        rng.uniform(0, np.pi, n),
        rng.uniform(0.5, 0.7, n),
        "lymphocyte",
    )


def _fibroblasts(options: PhantomOptions, layout: Layout, flow: Waves, taken: Nuclei) -> Nuclei:
    """Spindle nuclei along the fibres, aspect above 2.5."""
    rng = rng_for(options.seed, "fibroblasts")
    points = _candidates(layout, rng, 11.0)
    points = points[rng.random(len(points)) < 0.42]
    angle = fibre_angle(options, layout, flow, points) + rng.normal(0, 0.12, len(points))
    n = len(points)
    a = rng.uniform(4.5, 7.5, n)
    axes = np.stack([a, a / rng.uniform(3.2, 6.5, n)], axis=1)
    free = np.ones(n, dtype=bool)
    for end in (-1.0, 0.0, 1.0):
        x, y = points[:, 0] + end * a * np.cos(angle), points[:, 1] + end * a * np.sin(angle)
        free &= (layout.sample(layout.nest, x, y) < -2.5) & (layout.sample(layout.tissue, x, y) > 3)
        free &= (layout.sample(layout.lumen, x, y) < -6) & (layout.sample(layout.fat, x, y) < -2)
        free &= layout.sample(layout.necrosis, x, y) < -2
    points, axes, angle = points[free], axes[free], angle[free]
    keep = _thinned(points, 10.5, taken.xy, 10.5)
    od = rng.uniform(0.28, 0.5, len(points))
    return _nuclei(points[keep], axes[keep], angle[keep], od[keep], "fibroblast")


def _red_cells(layout: Layout, rng: np.random.Generator) -> Nuclei:
    """Red cells in the lumina."""
    points = _candidates(layout, rng, 7.5)
    points = points[layout.sample(layout.lumen, points[:, 0], points[:, 1]) > 3.5]
    points = points[_thinned(points, 6.4, np.empty((0, 2)), 0) & (rng.random(len(points)) < 0.6)]
    n = len(points)
    b = rng.uniform(2.5, 3.0, n)
    return _nuclei(points, np.stack([b * 1.08, b], axis=1), rng.uniform(0, np.pi, n), np.full(n, 0.05), "red cell")


def fibre_frame(options: PhantomOptions, x: Anywhere, y: Anywhere) -> tuple[Anywhere, Anywhere]:
    """Return coordinates (u along, v across the fibres), um, before waviness; same shape and type as `x`."""
    base = float(rng_for(options.seed, "fibre direction").uniform(0, np.pi)) + np.deg2rad(options.tissue.rotation_deg)
    c, s = np.cos(base).astype(x.dtype), np.sin(base).astype(x.dtype)
    return np.asarray(x * c + y * s, dtype=x.dtype), np.asarray(y * c - x * s, dtype=x.dtype)


def fibre_angle(options: PhantomOptions, layout: Layout, flow: Waves, points: Points) -> NDArray[np.float64]:
    """Return the direction of the fibres at `points`, rad: across the gradient of v, which follows nest borders."""
    e = 1.5

    def across(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return fibre_frame(options, x, y)[1] + flow.at(x, y) - NEST_PULL * layout.sample(layout.nest, x, y)

    x, y = points[:, 0], points[:, 1]
    gx, gy = across(x + e, y) - across(x - e, y), across(x, y + e) - across(x, y - e)
    return np.asarray(np.arctan2(gy, gx) + np.pi / 2)
