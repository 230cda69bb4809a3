"""Which class each tumour cell has, and how its membrane is stained along its outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.phantom.cells import BINS, Outlines
from wsi_pipeline.training.phantom.fields import Array, Waves, rng_for
from wsi_pipeline.training.phantom.options import CLASSES, PhantomOptions

MAX_ARCS = 3
COMPLETE_FROM = 0.95
"""From this completeness on, gaps are only thin places of the line."""

_COMPLETE = (CLASSES.index("2"), CLASSES.index("3"))


@dataclass(frozen=True)
class Membranes:
    """Per cell: class code (n,), completeness, OD, width um, blush OD (n,), arcs (n, 3, 2) as start and length."""

    classes: NDArray[np.int8]
    completeness: Array
    od: Array
    width_um: Array
    blush_od: Array
    arcs: Array


def exact_counts(mix: dict[str, float], total: int) -> NDArray[np.int64]:
    """Return how many of `total` cells each class gets, by largest remainder, in the order of `CLASSES`."""
    ideal = np.array([mix.get(name, 0.0) for name in CLASSES]) * total
    counts = np.floor(ideal + 1e-9).astype(np.int64)
    order = np.argsort(-(ideal - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def assign_classes(
    options: PhantomOptions, xy_um: NDArray[np.float64], scored: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], float]:
    """Return a class code per cell (n,) and the radius of the island in um (0 without one).

    Cells that are not `scored` (of the control core) are all 3. Counts follow the mix exactly, to rounding.
    """
    rng = rng_for(options.seed, "classes")
    classes = np.full(len(xy_um), CLASSES.index("3"), dtype=np.int8)
    index = np.flatnonzero(scored)
    radius = 0.0
    if options.island is not None and len(index):
        island = options.island
        away = np.hypot(xy_um[index, 0] - island.x_um, xy_um[index, 1] - island.y_um)
        order = np.argsort(away, kind="stable")
        take = max(1, round(island.share * len(index)))
        radius = float(away[order[take - 1]])
        classes[index[order[:take]]] = CLASSES.index(island.cell_class)
        index = np.sort(index[order[take:]])
    rank = rng.standard_normal(len(index))
    if options.arrangement == "patchy":
        waves = Waves.random(rng, 24, (options.patch_um * 1.4, options.patch_um * 3.0), 1.0)
        rank = 0.15 * rank + waves.at(xy_um[index, 0], xy_um[index, 1])
    codes = np.repeat(np.arange(len(CLASSES)), exact_counts({str(k): v for k, v in options.mix.items()}, len(index)))
    classes[index[np.argsort(rank, kind="stable")]] = codes
    return classes, radius


def make_membranes(options: PhantomOptions, classes: NDArray[np.int8]) -> Membranes:
    """Draw how each membrane looks from the ranges of its class."""
    rng = rng_for(options.seed, "membranes")
    n = len(classes)
    unit = rng.random((n, 4))
    blush = np.asarray(options.staining.blush_od[0] + unit[:, 3] * np.ptp(options.staining.blush_od))
    values = np.zeros((n, 3))
    arcs = np.zeros((n, MAX_ARCS, 2))
    parts = rng.dirichlet(np.full(MAX_ARCS * 2, 6.0), n)
    start = rng.random(n)
    wanted = rng.random(n)
    for name, look in options.looks.items():
        chosen = classes == CLASSES.index(name)
        for column, bounds in enumerate((look.completeness, look.od, look.width_um)):
            values[chosen, column] = bounds[0] + unit[chosen, column] * (bounds[1] - bounds[0])
        count = look.arcs[0] + np.floor(wanted[chosen] * (look.arcs[1] - look.arcs[0] + 1)).astype(int)
        arcs[chosen] = _arcs(values[chosen, 0], np.minimum(count, MAX_ARCS), parts[chosen], start[chosen])
    blush += options.staining.blush_per_membrane * values[:, 0] * values[:, 1]
    completeness, od, width = (np.ascontiguousarray(values[:, k], dtype=np.float32) for k in range(3))
    return Membranes(classes, completeness, od, width, blush.astype(np.float32), arcs.astype(np.float32))


def _arcs(
    completeness: NDArray[np.float64], count: NDArray[np.int64], parts: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Split `completeness` into `count` arcs with gaps between; (n, 3, 2) of start and length in turns."""
    used = np.arange(MAX_ARCS)[None, :] < count[:, None]
    length = np.where(used, parts[:, :MAX_ARCS], 0)
    gap = np.where(used, parts[:, MAX_ARCS:], 0)
    length *= (completeness / np.maximum(length.sum(axis=1), 1e-9))[:, None]
    gap *= ((1 - completeness) / np.maximum(gap.sum(axis=1), 1e-9))[:, None]
    begin = start[:, None] + np.cumsum(length + gap, axis=1) - length - gap
    return np.stack([begin % 1.0, length], axis=2)


def stained_outline(
    membranes: Membranes, outlines: Outlines, index: NDArray[np.int64], gap_um: float, blur_um: float
) -> tuple[Array, Array, Array]:
    """Return per bin (n, BINS) the drawn OD and ridge inset in um, and (n,) the drawn line's standard deviation in um.

    Neighbours that are both complete and of one class share their wall and stain it together. Any other stained cell
    keeps its line on its own side, so that an unstained neighbour stays unstained.
    """
    amount, turn = _stained_part(membranes, outlines, index)
    own = membranes.classes[index]
    other = np.where(outlines.facing >= 0, membranes.classes[outlines.facing], -1)
    shared = (other == own[:, None]) & np.isin(own, _COMPLETE)[:, None]
    width = membranes.width_um[index]
    inset = np.where(shared, np.float32(0), np.float32(gap_um / 2) + width[:, None] / 2)
    inset = (np.roll(inset, 1, axis=1) + 2 * inset + np.roll(inset, -1, axis=1)) / 4
    seen = width / np.float32(2.3548)
    drawn = np.sqrt(np.maximum(seen**2 - np.float32(blur_um**2), np.float32(0.15**2)))
    gain = np.sqrt(drawn**2 + np.float32(blur_um**2)) / drawn
    wobble = 1 + np.float32(0.10) * np.sin(turn * np.float32(6 * np.pi) + index[:, None].astype(np.float32))
    od = (membranes.od[index] * gain)[:, None] * amount * wobble
    return od.astype(np.float32), inset.astype(np.float32), drawn.astype(np.float32)


def _stained_part(membranes: Membranes, outlines: Outlines, index: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return how much each bin is stained (0-1, arcs fade at their ends) and its place along the perimeter (0-1)."""
    radius = outlines.rounded
    step = np.hypot(np.diff(radius, axis=1, append=radius[:, :1]), radius * np.float32(2 * np.pi / BINS))
    along = np.cumsum(step, axis=1) - step
    perimeter = step.sum(axis=1, keepdims=True)
    turn = (along + step / 2) / perimeter
    fade = np.float32(0.7) / perimeter
    amount = np.zeros_like(radius)
    for k in range(MAX_ARCS):
        begin, length = membranes.arcs[index, k, 0:1], membranes.arcs[index, k, 1:2]
        inside = length / 2 - np.abs((turn - begin - length / 2 + np.float32(0.5)) % 1.0 - np.float32(0.5))
        amount = np.maximum(amount, np.clip(inside / fade + np.float32(0.5), 0, 1) * (length > 0))
    amount = np.where(membranes.completeness[index, None] > COMPLETE_FROM, np.maximum(amount, np.float32(0.5)), amount)
    return amount.astype(np.float32), turn.astype(np.float32)
