"""What lies on the glass: dust, a pen stroke, a fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.training.phantom.fields import Array, rng_for, smoothstep
from wsi_pipeline.training.phantom.layout import Layout
from wsi_pipeline.training.phantom.optics import INKS, NEUTRAL, Stains
from wsi_pipeline.training.phantom.options import PhantomOptions

Axis = NDArray[np.float64]


@dataclass(frozen=True)
class Artefacts:
    """Dust (n, 4) as x, y, radius um and OD; strokes as x0, y0, x1, y1, half-width um."""

    dust: NDArray[np.float64]
    pen: NDArray[np.float64]
    ink: str
    fold: NDArray[np.float64]

    @classmethod
    def of(cls, options: PhantomOptions, layout: Layout) -> Artefacts:
        """Place the artefacts of `options`; the pen goes to the emptiest corner."""
        rng = rng_for(options.seed, "artefacts")
        n = options.artefacts.dust
        w, h = options.width_um, options.height_um
        dust = np.stack(
            [rng.uniform(0, w, n), rng.uniform(0, h, n), rng.lognormal(0.3, 0.5, n), rng.uniform(0.4, 1.4, n)], axis=1
        )
        pen = np.zeros((0, 5))
        if options.artefacts.pen != "none":
            pen = _stroke(layout, (w, h))
        fold = np.zeros((0, 5))
        if options.artefacts.fold:
            x, y, turn = rng.uniform(0.35, 0.65) * w, rng.uniform(0.35, 0.65) * h, rng.uniform(0, np.pi)
            reach = 0.22 * min(w, h)
            fold = np.array([[x - reach * np.cos(turn), y - reach * np.sin(turn), 0, 0, 6.0]])
            fold[0, 2:4] = x + reach * np.cos(turn), y + reach * np.sin(turn)
        return cls(dust, pen, options.artefacts.pen, fold)

    def marks(self, x: Axis, y: Axis) -> Stains:
        """Return dust and ink amounts on the block with axes `x` and `y` (um); empty where there is none."""
        out: Stains = []
        speck = np.zeros((len(y), len(x)), dtype=np.float32)
        for px, py, radius, od in self.dust:
            if x[0] - 9 < px < x[-1] + 9 and y[0] - 9 < py < y[-1] + 9:
                away = np.hypot(*np.meshgrid(x - px, y - py)).astype(np.float32)
                speck += np.float32(od) * (1 - smoothstep(away, 0.5 * radius, radius + 0.4))
        if float(speck.max()) > 0:
            out.append((speck, NEUTRAL))
        for stroke in self.pen:
            away = _to_segment(stroke, x, y)
            if away is not None:
                ripple = 1 + 0.08 * np.sin(away / 5)
                edge = smoothstep(np.float32(stroke[4]) - away, -2.0, 3.0)
                out.append((np.asarray(np.float32(1.15) * ripple * edge, dtype=np.float32), INKS[self.ink]))
        return out

    def fold_gain(self, x: Axis, y: Axis) -> Array | None:
        """Return how many layers of tissue lie on the block (1-2), or None where no fold is near."""
        for stroke in self.fold:
            away = _to_segment(stroke, x, y)
            if away is not None:
                return np.asarray(1 + smoothstep(np.float32(stroke[4]) - away, -1.0, 2.0), dtype=np.float32)
        return None


def _to_segment(stroke: NDArray[np.float64], x: Axis, y: Axis) -> Array | None:
    """Return distances (len(y), len(x)) to the segment, um, or None where the block is out of its reach."""
    reach = stroke[4] + 5
    if x[-1] < min(stroke[0], stroke[2]) - reach or x[0] > max(stroke[0], stroke[2]) + reach:
        return None
    if y[-1] < min(stroke[1], stroke[3]) - reach or y[0] > max(stroke[1], stroke[3]) + reach:
        return None
    dx, dy = stroke[2] - stroke[0], stroke[3] - stroke[1]
    gx, gy = np.meshgrid((x - stroke[0]).astype(np.float32), (y - stroke[1]).astype(np.float32))
    t = np.clip((gx * np.float32(dx) + gy * np.float32(dy)) / np.float32(dx * dx + dy * dy), 0, 1)
    return np.asarray(np.hypot(gx - t * np.float32(dx), gy - t * np.float32(dy)), dtype=np.float32)


def _stroke(layout: Layout, size_um: tuple[float, float]) -> NDArray[np.float64]:
    """Return one stroke (1, 5) across the corner with the most bare glass, clear of tissue where there is room."""
    w, h = size_um
    best, place = -np.inf, np.zeros(5)
    for fx in (0.0, 1.0):
        for fy in (0.0, 1.0):
            sx, sy = 1 - 2 * fx, 1 - 2 * fy
            for reach in (0.10, 0.13, 0.16, 0.19):
                x0, y0 = fx * w + sx * reach * w, fy * h + sy * 0.01 * h
                x1, y1 = fx * w + sx * 0.01 * w, fy * h + sy * reach * w
                t = np.linspace(0, 1, 25)
                xs, ys = x0 + (x1 - x0) * t, y0 + (y1 - y0) * t
                room = float(-layout.sample(layout.tissue, xs, ys).max()) - 8.0
                if min(room, 16.0) + 20 * reach > best and room > 4:
                    best, place = min(room, 16.0) + 20 * reach, np.array([x0, y0, x1, y1, min(room, 16.0)])
    return place[None] if np.isfinite(best) else np.zeros((0, 5))
