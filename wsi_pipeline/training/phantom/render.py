"""Draw one chunk of a phantom: amounts of each stain, painted from the vector model."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom.artefacts import Artefacts
from wsi_pipeline.training.phantom.cells import BINS, DIRECTIONS, Packing, outlines
from wsi_pipeline.training.phantom.fields import Array, Texture, Waves, rng_for, smoothstep
from wsi_pipeline.training.phantom.layout import Layout, Points
from wsi_pipeline.training.phantom.membranes import Membranes, stained_outline
from wsi_pipeline.training.phantom.nuclei import KINDS, NEST_PULL, Nuclei, fibre_frame
from wsi_pipeline.training.phantom.optics import Optics, Stains, jittered
from wsi_pipeline.training.phantom.options import PhantomOptions, Stain

_SHIFT = 4
_LN2 = float(np.log(2.0))


@dataclass(frozen=True)
class Looks:
    """What one stain gives to each material: (hematoxylin, eosin) amounts."""

    stroma: tuple[float, float]
    cytoplasm: tuple[float, float]
    necrosis: tuple[float, float]
    fat_wall: tuple[float, float]
    nucleus_gain: float


LOOKS: dict[Stain, Looks] = {
    "ihc": Looks((0.10, 0.0), (0.09, 0.0), (0.07, 0.0), (0.12, 0.0), 1.0),
    "he": Looks((0.05, 0.30), (0.16, 0.24), (0.08, 0.30), (0.04, 0.25), 1.65),
}
"""IHC has no eosin: everything but DAB is pale hematoxylin."""


HALO = 0.08
"""Diffuse DAB on the inner side of a stained membrane, share of its OD."""


@dataclass(frozen=True)
class Textures:
    """Periodic noise shared by all chunks of one phantom."""

    chromatin: Texture
    cytoplasm: Texture
    fibre: Texture
    stretch: Texture
    patch: Texture

    @classmethod
    def of(cls, seed: int) -> Textures:
        """Draw the textures of one seed."""
        rng = rng_for(seed, "textures")
        return cls(
            chromatin=Texture.band(rng, 0.25, (0.36, 0.36)),
            cytoplasm=Texture.band(rng, 0.25, (0.42, 0.42), 1024),
            fibre=Texture.band(rng, 0.25, (5.0, 0.32), 1024),
            stretch=Texture.band(rng, 1.0, (14.0, 2.2)),
            patch=Texture.band(rng, 2.0, (25.0, 25.0)),
        )


@dataclass(frozen=True)
class Scene:
    """The whole vector model of a phantom, ready to be drawn."""

    options: PhantomOptions
    layout: Layout
    tumour: Packing
    fat: Packing
    membranes: Membranes
    nuclei: Nuclei
    textures: Textures
    warp: tuple[Waves, Waves]
    flow: Waves
    optics: Optics
    artefacts: Artefacts

    def unwarped(self, points: Points) -> Points:
        """Return where points (n, 2) of the model appear on the slide, um: drawing bends space a little."""
        out = points.copy()
        for _ in range(3):
            bend = np.stack([wave.at(out[:, 0], out[:, 1]) for wave in self.warp], axis=1)
            out = points - bend
        return out


class Chunk:
    """The pixels of one block while they are painted: coordinates (um) and stain amounts, all float32 (h, w)."""

    def __init__(self, scene: Scene, box_l0: Box, stain: Stain) -> None:
        """Prepare coordinates for `box_l0`."""
        options = scene.options
        self.scene, self.box, self.stain, self.look = scene, box_l0, stain, LOOKS[stain]
        x: NDArray[np.float64] = (np.arange(box_l0.x, box_l0.right, dtype=np.float64) + 0.5) * options.mpp_x
        y: NDArray[np.float64] = (np.arange(box_l0.y, box_l0.bottom, dtype=np.float64) + 0.5) * options.mpp_y
        self.x = scene.warp[0].grid(x, y) + x.astype(np.float32)[None, :]
        self.y = scene.warp[1].grid(x, y) + y.astype(np.float32)[:, None]
        self.h = np.zeros(self.x.shape, dtype=np.float32)
        self.d = np.zeros_like(self.h)
        self.e = np.zeros_like(self.h)
        self._xs, self._ys = x, y

    def paint(self) -> NDArray[np.uint8]:
        """Paint everything and return the grey levels, uint8 (h, w, 3)."""
        scene, tissue = self.scene, self.scene.layout.sample(self.scene.layout.tissue, self.x, self.y)
        here = smoothstep(tissue, -1.0, 1.5)
        if float(here.max()) > 0:
            self._paint_stroma(here)
            self._paint_cells(scene.fat, scene.layout.fat)
            self._paint_cells(scene.tumour, scene.layout.nest)
            self._paint_nuclei()
            patch = 1 + np.float32(0.09) * scene.textures.patch.sample(self.x, self.y)
            self._scale(patch)
            self.d += np.float32(scene.options.staining.background_dab if self.stain == "ihc" else 0) * here
        hematoxylin, dab, eosin = jittered(scene.options)
        stains: Stains = [(self.h, hematoxylin), (self.d, dab) if self.stain == "ihc" else (self.e, eosin)]
        fold = scene.artefacts.fold_gain(self._xs, self._ys)
        if fold is not None:
            stains = [(amount * fold, vector) for amount, vector in stains]
        return scene.optics.expose(stains + scene.artefacts.marks(self._xs, self._ys), (self.box.x, self.box.y))

    def _paint_stroma(self, here: Array) -> None:
        """Paint fibres, then necrosis and empty lumina over them."""
        scene, layout, look = self.scene, self.scene.layout, self.look
        nest = layout.sample(layout.nest, self.x, self.y)
        u, v = fibre_frame(scene.options, self.x, self.y)
        v = v + scene.flow.grid(self._xs, self._ys) - np.float32(NEST_PULL) * nest
        fibre = scene.textures.fibre.sample(u, v)
        stretch = scene.textures.stretch.sample(u, v)
        grain = scene.textures.cytoplasm.sample(self.x, self.y)
        amount = np.clip(0.80 + 0.24 * fibre + 0.15 * stretch + 0.14 * grain, 0.05, 1.8) * here
        amount *= 1 - np.float32(0.55) * smoothstep(nest, -0.5, 2.0)
        rotten = smoothstep(layout.sample(layout.necrosis, self.x, self.y), -3.0, 3.0)
        if float(rotten.max()) > 0:
            self._paint_necrosis(amount, rotten)
        else:
            self.h += look.stroma[0] * amount
            self.e += look.stroma[1] * amount
        self.d += np.float32(0.012) * amount
        empty = smoothstep(layout.sample(layout.lumen, self.x, self.y), -0.6, 0.6)
        self._scale(1 - empty)

    def _scale(self, factor: Array) -> None:
        """Multiply all amounts by `factor` (h, w)."""
        self.h *= factor
        self.d *= factor
        self.e *= factor

    def _paint_necrosis(self, amount: Array, rotten: Array) -> None:
        """Mix stroma with debris: grey-brown clots and dark dust, no intact nucleus."""
        look, textures = self.look, self.scene.textures
        clot = np.clip(0.75 + 0.35 * textures.cytoplasm.sample(self.x * 0.45, self.y * 0.45), 0.1, 2.0)
        grain = smoothstep(textures.chromatin.sample(self.x * 0.5, self.y * 0.5), 1.7, 2.6)
        clot = clot + 0.25 * textures.cytoplasm.sample(self.y, self.x)
        keep = 1 - rotten
        self.h += keep * look.stroma[0] * amount + rotten * (look.necrosis[0] * clot + np.float32(0.22) * grain)
        self.e += keep * look.stroma[1] * amount + rotten * look.necrosis[1] * clot
        self.d += rotten * np.float32(0.05) * clot

    def _near(self, xy: Points, reach_um: float) -> NDArray[np.int64]:
        """Return which points lie within `reach_um` of the block."""
        inside = (xy[:, 0] > self._xs[0] - reach_um) & (xy[:, 0] < self._xs[-1] + reach_um)
        inside &= (xy[:, 1] > self._ys[0] - reach_um) & (xy[:, 1] < self._ys[-1] + reach_um)
        return np.flatnonzero(inside)

    def _labels(self, polygons: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return int32 (h, w): 1 + index of the polygon (n, k, 2; model um) at each pixel, 0 for none."""
        n, k, _ = polygons.shape
        points = self.scene.unwarped(polygons.reshape(-1, 2))
        mpp = np.array([self.scene.options.mpp_x, self.scene.options.mpp_y])
        pixels = points / mpp - np.array([self.box.x, self.box.y]) - 0.5
        fixed = np.round(pixels * (1 << _SHIFT)).astype(np.int32).reshape(n, k, 2)
        labels = np.zeros(self.h.shape, dtype=np.int32)
        for index in range(n):
            cv2.fillPoly(labels, [fixed[index]], index + 1, cv2.LINE_8, _SHIFT)
        return labels

    def _paint_cells(self, packing: Packing, field: Array) -> None:
        """Paint cytoplasm and stained membranes, or empty fat cells with their walls."""
        fat = packing is self.scene.fat
        near = self._near(packing.seeds, 60.0 if fat else 20.0)
        if not len(near):
            return
        table = outlines(packing, near, loose_um=3.0)
        ring = packing.seeds[near, :, None] + DIRECTIONS[None] * table.hard[:, None, :]
        border = self.scene.layout.sample(field, self.x, self.y)
        labels = self._labels(ring.transpose(0, 2, 1))
        where = np.flatnonzero((labels > 0) & (border > -0.5))
        if not len(where):
            return
        border = border.ravel()[where]
        cell = labels.ravel()[where] - 1
        seeds = packing.seeds[near].astype(np.float32)
        dx, dy = self.x.ravel()[where] - seeds[cell, 0], self.y.ravel()[where] - seeds[cell, 1]
        radius, angle = (a.ravel() for a in cv2.cartToPolar(dx, dy))
        turn = angle * np.float32(BINS / (2 * np.pi))
        low = np.floor(turn).astype(np.int64)
        mix = (turn - low)[:, None]
        first, second = cell * BINS + low % BINS, cell * BINS + (low + 1) % BINS
        columns = [table.rounded, table.cosine]
        if fat:
            rows = _lookup(columns, first, second, mix)
            self._fill_fat(where, np.minimum((rows[:, 0] - radius) * rows[:, 1], border))
            return
        options = self.scene.options
        od, inset, drawn = stained_outline(
            self.scene.membranes, table, near, options.staining.gap_um, options.optics.blur_um
        )
        rows = _lookup([*columns, od, inset], first, second, mix)
        depth = np.minimum(np.abs(rows[:, 0] - radius) * rows[:, 1], border)
        line = (depth - rows[:, 3]) / drawn[cell]
        self._fill_tumour(where, depth, near[cell], rows[:, 2] * np.exp(np.float32(-0.5) * line * line))

    def _fill_fat(self, where: NDArray[np.int64], depth: Array) -> None:
        """Empty fat cells but for a thin wall."""
        wall = 1 - smoothstep(depth, 0.5, 1.3)
        for layer, value in ((self.h, self.look.fat_wall[0]), (self.e, self.look.fat_wall[1])):
            layer.ravel()[where] = wall * np.float32(value)
        self.d.ravel()[where] *= wall

    def _fill_tumour(self, where: NDArray[np.int64], depth: Array, cell: NDArray[np.int64], line: Array) -> None:
        """Lay cytoplasm over what is there, with its DAB blush, and add the membrane line."""
        look, membranes = self.look, self.scene.membranes
        body = smoothstep(depth, -0.1, 0.5)
        grain = self.scene.textures.cytoplasm.sample(self.x, self.y).ravel()[where]
        tone = np.maximum(1 + np.float32(0.38) * grain, 0) * body
        clear = 1 - body
        for layer, value in ((self.h, look.cytoplasm[0]), (self.e, look.cytoplasm[1])):
            flat = layer.ravel()
            flat[where] = flat[where] * clear + tone * np.float32(value)
        flat = self.d.ravel()
        flat[where] = flat[where] * clear + tone * membranes.blush_od[cell]
        halo = membranes.od[cell] * membranes.completeness[cell] * np.exp(depth * np.float32(-1 / 1.2)) * body
        flat[where] += line * (1 + np.float32(0.10) * grain) + np.float32(HALO) * halo

    def _paint_nuclei(self) -> None:
        """Paint chromatin with a darker rim and a nucleolus over what is there."""
        nuclei = self.scene.nuclei
        near = self._near(nuclei.xy, 12.0)
        if not len(near):
            return
        angle, a, b = nuclei.angle[near], nuclei.a[near], nuclei.b[near]
        cosine, sine = np.cos(angle), np.sin(angle)
        t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        pad = np.float32(0.5)
        u, v = np.multiply.outer(a + pad, np.cos(t)), np.multiply.outer(b + pad, np.sin(t))
        ring = np.stack([u * cosine[:, None] - v * sine[:, None], u * sine[:, None] + v * cosine[:, None]], axis=2)
        labels = self._labels(nuclei.xy[near, None, :] + ring)
        where = np.flatnonzero(labels)
        if not len(where):
            return
        which = labels.ravel()[where] - 1
        centre = nuclei.xy[near].astype(np.float32)
        dx, dy = self.x.ravel()[where] - centre[which, 0], self.y.ravel()[where] - centre[which, 1]
        p = (dx * cosine[which] + dy * sine[which]) / a[which]
        q = (dy * cosine[which] - dx * sine[which]) / b[which]
        self._fill_nuclei(where, near[which], p, q)

    def _fill_nuclei(self, where: NDArray[np.int64], which: NDArray[np.int64], p: Array, q: Array) -> None:
        """Fill the pixels `where` of nuclei `which` at normalised coordinates p, q (the border is the unit circle)."""
        nuclei, stain = self.scene.nuclei, self.stain
        kind, size = nuclei.kind[which], np.sqrt(nuclei.a[which] * nuclei.b[which])
        grain = self.scene.textures.chromatin.sample(self.x, self.y).ravel()[where]
        rho = np.hypot(p, q)
        body = smoothstep((1 - rho) * size, -0.30, 0.35)
        tumour = kind == KINDS.index("tumour")
        rim = np.exp(np.float32(-0.5) * np.square((rho - np.float32(0.88)) / np.float32(0.10)))
        spot = np.float32(0.45) * np.sin(which * np.float32(2.4))
        offset = np.hypot(p - spot, q - np.float32(0.4) * np.cos(which * np.float32(5.1))) * size
        nucleolus = (1 - smoothstep(offset, 0.35, 0.85)) * (which % 5 < 3)
        vesicular = np.float32(0.82) + np.float32(0.30) * rim + np.float32(0.55) * nucleolus
        tone = np.where(tumour, vesicular, np.float32(1)) + np.float32(0.17) * grain
        red = kind == KINDS.index("red cell")
        tone = np.where(red, np.float32(0.4) + rim, tone)
        od = nuclei.od[which] * np.float32(self.look.nucleus_gain) * np.maximum(tone, np.float32(0.15))
        for layer, value in ((self.h, od), (self.e, np.where(red, np.float32(0.55), np.float32(0.12)))):
            flat = layer.ravel()
            flat[where] = flat[where] * (1 - body) + body * value
        flat = self.d.ravel()
        flat[where] = flat[where] * (1 - np.float32(0.6) * body) + (body * nuclei.dab[which] if stain == "ihc" else 0)


def _lookup(columns: list[Array], first: NDArray[np.int64], second: NDArray[np.int64], mix: Array) -> Array:
    """Interpolate tables (n, BINS) between flat bins `first` and `second`; returns (pixels, columns)."""
    table = np.stack([column.ravel() for column in columns], axis=1)
    low = table[first]
    return np.asarray(low + (table[second] - low) * mix, dtype=np.float32)
