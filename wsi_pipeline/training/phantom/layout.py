"""Where things are: pieces of tissue, nests, fat, vessels, necrosis and lymphocyte clusters, as distance maps in um."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.phantom.fields import Array, rng_for, value_noise
from wsi_pipeline.training.phantom.options import PhantomOptions

MAX_GRID = 16_000_000
"""Cells of the layout grid at most: large slides get a coarser grid, never more memory."""

FAR_UM = 1e6
"""Distance to a structure that there is none of; finite, so that what is computed from it stays a number."""

PAINTED_UM = 0.25
"""Distance inside the tissue's edge at which half of it is painted (see `Chunk.paint`)."""

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """One piece of tissue: an irregular ellipse (centre, semi-axes, um) of kind tumour or control."""

    kind: str
    x_um: float
    y_um: float
    a_um: float
    b_um: float


@dataclass(frozen=True)
class Layout:
    """Signed distances in um, positive inside, on a grid of `step_um`, and what lies where."""

    step_um: float
    tissue: Array
    nest: Array
    lumen: Array
    necrosis: Array
    fat: Array
    lymph: Array
    pieces: tuple[Piece, ...]

    def sample(self, field: Array, x: NDArray[np.floating], y: NDArray[np.floating]) -> Array:
        """Return `field` at um coordinates: maps (h, w) or points (n,)."""
        if not np.size(x):
            return np.zeros(np.shape(x), dtype=np.float32)
        scale = np.float32(1.0 / self.step_um)
        mx = np.asarray(x, dtype=np.float32) * scale - np.float32(0.5)
        my = np.asarray(y, dtype=np.float32) * scale - np.float32(0.5)
        shape = mx.shape if mx.ndim == 2 else (-1, min(max(mx.size, 1), 1024))
        if mx.ndim == 1:
            pad = (-mx.size) % shape[1]
            mx, my = np.pad(mx, (0, pad)).reshape(shape), np.pad(my, (0, pad)).reshape(shape)
        out = cv2.remap(field, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(out, dtype=np.float32).reshape(np.shape(x) if np.ndim(x) == 2 else -1)[: len(x)]

    def silhouette(self) -> Mask:
        """Return what a person would outline (h, w), cells of `step_um`: all of the tissue, its holes filled.

        Drawing bends space by about 0.5 um, which is left out here.
        """
        painted = (self.tissue > PAINTED_UM).astype(np.uint8)
        outlines, _ = cv2.findContours(painted, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        return np.asarray(cv2.drawContours(painted, outlines, -1, 1, cv2.FILLED) > 0)

    def gradient(self, field: Array, points: Points) -> Points:
        """Return unit vectors (n, 2) pointing into the structure at `points` (n, 2), um."""
        e = 2.0 * self.step_um
        x, y = points[:, 0], points[:, 1]
        g = np.stack(
            [
                self.sample(field, x + e, y) - self.sample(field, x - e, y),
                self.sample(field, x, y + e) - self.sample(field, x, y - e),
            ],
            axis=1,
        ).astype(np.float64)
        return np.asarray(g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9))

    def piece_of(self, points: Points) -> NDArray[np.int64]:
        """Return the index of the nearest piece (n,), by distance relative to its size."""
        d = [np.hypot((points[:, 0] - p.x_um) / p.a_um, (points[:, 1] - p.y_um) / p.b_um) for p in self.pieces]
        return np.asarray(np.argmin(np.stack(d), axis=0), dtype=np.int64)


def distance_um(mask: Mask, step_um: float) -> Array:
    """Return the signed distance of each grid cell to the border of `mask`, um, positive inside, a little smoothed."""
    if mask.all() or not mask.any():
        return np.full(mask.shape, FAR_UM if mask.any() else -FAR_UM, dtype=np.float32)
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(cv2.GaussianBlur((inside - outside) * np.float32(step_um), (0, 0), 2.0), dtype=np.float32)


def make_layout(options: PhantomOptions) -> Layout:
    """Lay the tissue out; the same seed gives the same tissue whatever the stain, mix or pixel size."""
    area = options.width_um * options.height_um
    step = max(1.0, float(np.sqrt(area / MAX_GRID)))
    shape = (int(np.ceil(options.height_um / step)), int(np.ceil(options.width_um / step)))
    rng = rng_for(options.seed, "layout")
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) * np.float32(step) + np.float32(step / 2)
    pieces = _pieces(options)
    tissue = np.zeros(shape, dtype=bool)
    for piece in pieces:
        tissue |= _blob(rng, (x - piece.x_um, y - piece.y_um), (piece.a_um, piece.b_um), options.tissue.rotation_deg)
    edge = distance_um(tissue, step) + np.float32(1.2) * value_noise(rng, shape, step, 12.0)
    edge += np.float32(4.0) * value_noise(rng, shape, step, 55.0)
    places = _Places(options, edge, pieces, (x, y), rng)
    fat, lymph = places.blobs(options.tissue.fat, 66.0), places.blobs(options.tissue.lymphocytes, 36.0)
    lumen, necrosis = places.blobs(options.tissue.vessels, 15.0), places.blobs(options.tissue.necrosis, 27.0)
    blocked = distance_um(fat | lymph, step) > -9
    blocked |= distance_um(lumen, step) > -16
    rim = (distance_um(necrosis, step) > -34) & ~blocked
    nest = _nests(options, rng, edge, blocked, rim) & ~(distance_um(necrosis, step) > -1)
    return Layout(
        step_um=step,
        tissue=edge,
        nest=distance_um(nest, step),
        lumen=distance_um(lumen, step),
        necrosis=distance_um(necrosis, step),
        fat=distance_um(fat & (edge > 6), step),
        lymph=distance_um(lymph, step),
        pieces=tuple(pieces),
    )


def _pieces(options: PhantomOptions) -> list[Piece]:
    """Share the slide out among the pieces along its longer side."""
    count = options.tissue.pieces + int(options.tissue.control_core)
    wide = options.width_um >= options.height_um
    cell_w = options.width_um / (count if wide else 1)
    cell_h = options.height_um / (1 if wide else count)
    pieces = []
    for index in range(count):
        control = index >= options.tissue.pieces
        x = cell_w * ((index if wide else 0) + 0.5)
        y = cell_h * ((0 if wide else index) + 0.5)
        radius = 0.40 * min(cell_w, cell_h)
        a, b = (radius, radius) if control else _fitted(cell_w, cell_h, options.tissue.rotation_deg)
        pieces.append(Piece("control" if control else "tumour", x, y, a, b))
    return pieces


def _fitted(width_um: float, height_um: float, rotation_deg: float) -> tuple[float, float]:
    """Return the semi-axes of an ellipse that stays inside width x height when it is turned."""
    a, b = 0.445 * width_um, 0.435 * height_um
    c, s = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    shrink = min(
        1.0, 0.445 * width_um / float(np.hypot(a * c, b * s)), 0.435 * height_um / float(np.hypot(a * s, b * c))
    )
    return a * shrink, b * shrink


def _blob(
    rng: np.random.Generator, offset: tuple[Array, Array], axes: tuple[float, float], rotation_deg: float = 0.0
) -> Mask:
    """Return an ellipse with a wavy outline about the origin of `offset` (maps of um)."""
    c, s = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    u = (offset[0] * np.float32(c) + offset[1] * np.float32(s)) / np.float32(axes[0])
    v = (offset[1] * np.float32(c) - offset[0] * np.float32(s)) / np.float32(axes[1])
    angle = np.arctan2(v, u)
    outline = np.full_like(angle, 0.93)
    for k in range(2, 8):
        outline += np.float32(rng.normal(0, 0.15 / k)) * np.cos(k * angle + np.float32(rng.uniform(0, 2 * np.pi)))
    return np.asarray(np.hypot(u, v) < outline)


class _Places:
    """Hands out places for structures, far from each other and inside the tissue."""

    def __init__(
        self,
        options: PhantomOptions,
        edge: Array,
        pieces: list[Piece],
        grid: tuple[Array, Array],
        rng: np.random.Generator,
    ) -> None:
        """Prepare random candidate places (n, 2) in um with their depth in the tissue."""
        self._edge, self._grid, self._rng = edge, grid, rng
        rows = rng.integers(0, edge.shape[0], 3000)
        columns = rng.integers(0, edge.shape[1], 3000)
        points = np.stack([grid[0][rows, columns], grid[1][rows, columns]], axis=1).astype(np.float64)
        depth = edge[rows, columns].astype(np.float64)
        for piece in pieces:
            if piece.kind == "control":
                depth[np.hypot(points[:, 0] - piece.x_um, points[:, 1] - piece.y_um) < piece.a_um * 1.3] = -1
        self._points, self._depth = points, depth
        self._taken: list[tuple[float, float, float]] = []
        tissue_mm2 = float((edge > 0).sum()) * (options.width_um / edge.shape[1]) ** 2 / 1e6
        self._count = max(1, round(tissue_mm2 / 0.6))

    def blobs(self, wanted: bool, radius_um: float) -> Mask:
        """Return the mask of one kind of structure, of about `radius_um`; empty where not wanted or no room is left."""
        mask = np.zeros(self._edge.shape, dtype=bool)
        for _ in range(self._count if wanted else 0):
            place = self._next(radius_um)
            if place is None:
                break
            squeeze = float(self._rng.uniform(0.8, 1.2))
            axes = (radius_um * squeeze, radius_um / squeeze)
            turn = float(self._rng.uniform(0, 180))
            window = self._window(place, 1.6 * radius_um)
            offset = (self._grid[0][window] - np.float32(place[0]), self._grid[1][window] - np.float32(place[1]))
            mask[window] |= _blob(self._rng, offset, axes, turn)
        return mask

    def _window(self, place: tuple[float, float], reach_um: float) -> tuple[slice, slice]:
        """Return the part of the grid within `reach_um` of `place`: rows, columns."""
        step = float(self._grid[0][0, 0]) * 2
        low = [max(int((value - reach_um) / step), 0) for value in place]
        high = [int((value + reach_um) / step) + 2 for value in place]
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _next(self, radius_um: float) -> tuple[float, float] | None:
        """Take the candidate with the most room among those deep enough."""
        room = np.minimum(self._depth - 0.9 * radius_um - 12, 60.0)
        for x, y, taken_um in self._taken:
            distance = np.hypot(self._points[:, 0] - x, self._points[:, 1] - y)
            room = np.minimum(room, distance - taken_um - radius_um - 24)
        room = room + self._rng.uniform(0, 8, len(room))
        best = int(np.argmax(room))
        if room[best] < 0:
            return None
        x, y = float(self._points[best, 0]), float(self._points[best, 1])
        self._taken.append((x, y, radius_um))
        return x, y


def _nests(options: PhantomOptions, rng: np.random.Generator, edge: Array, blocked: Mask, rim: Mask) -> Mask:
    """Return nests with smooth borders: thresholded noise, opened and closed so that no nest or gap is too thin."""
    step = max(1.0, float(np.sqrt(options.width_um * options.height_um / MAX_GRID)))
    shape = (edge.shape[0], edge.shape[1])
    noise = value_noise(rng, shape, step, options.tissue.nest_um)
    noise += np.float32(0.45) * value_noise(rng, shape, step, options.tissue.nest_um / 2.2)
    allowed = (edge > 13) & ~blocked
    share = options.tissue.tumour_fraction * float((edge > 0).sum()) / max(float(allowed.sum()), 1.0)
    threshold = np.quantile(noise[allowed], 1 - min(share, 0.97)) if allowed.any() else np.inf
    mask = ((noise > threshold) | rim) & allowed
    mask = ~_opened(~mask, 5.0, step)
    mask = _opened(mask & allowed, 13.0, step)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] * step**2 < 1200.0]
    return np.asarray(mask & ~np.isin(labels, small))


def _opened(mask: Mask, radius_um: float, step_um: float) -> Mask:
    """Remove what is thinner than twice `radius_um`, with round corners."""
    core = distance_um(mask, step_um) > radius_um
    return np.asarray(distance_um(core, step_um) > -radius_um + 0.5)
