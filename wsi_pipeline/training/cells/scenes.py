"""Phantoms with every nucleus, wall and nest known, drawn with what real tissue does: brown cytoplasm, pale nuclei."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.data.domain import TRAINING, draw_phantom
from wsi_pipeline.training.phantom import make_phantom
from wsi_pipeline.training.phantom.fields import Array
from wsi_pipeline.training.phantom.nuclei import KINDS
from wsi_pipeline.training.phantom.options import MembraneLook, PhantomOptions
from wsi_pipeline.training.phantom.render import Chunk

MARGIN_PX = 8
CORNERS = 28
"""Corners of a nucleus' polygon."""


class Scene(NamedTuple):
    """A drawn picture and what is in it, all (H, W)."""

    rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    nuclei: NDArray[np.int32]
    """1-based number of the nucleus, 0 elsewhere."""
    wall: NDArray[np.float32]
    """How much of a stained membrane lies here, 0-1 and above."""
    nest: NDArray[np.bool_]
    """Inside a tumour nest."""
    white: tuple[float, float, float]


class _Recorder(Chunk):
    """Paints a phantom and keeps where its stained walls lie."""

    def paint(self) -> NDArray[np.uint8]:
        """Return the picture; the walls are in `wall` then."""
        self.wall = np.zeros(self.h.shape, np.float32)
        return super().paint()

    def _fill_tumour(self, where: NDArray[np.int64], depth: Array, cell: NDArray[np.int64], line: Array) -> None:
        self.wall.ravel()[where] = line
        super()._fill_tumour(where, depth, cell, line)

    def nuclei(self) -> NDArray[np.int32]:
        """Return the number of the nucleus at each px; red cells are none."""
        drawn = self.scene.nuclei
        near = self._near(drawn.xy, 12.0)
        near = near[drawn.kind[near] != KINDS.index("red cell")]
        if len(near) == 0:
            return np.zeros(self.h.shape, np.int32)
        turn = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        along = np.multiply.outer(drawn.a[near], np.cos(turn))
        across = np.multiply.outer(drawn.b[near], np.sin(turn))
        cosine, sine = np.cos(drawn.angle[near])[:, None], np.sin(drawn.angle[near])[:, None]
        ring = np.stack([along * cosine - across * sine, along * sine + across * cosine], axis=2)
        return self._labels(drawn.xy[near, None, :] + ring)


def draw_scene(seed: int, side_px: int) -> Scene:
    """Return a drawn picture of `side_px` squared; everything in it follows from the seed."""
    generator = np.random.default_rng(seed)
    options = _harder(draw_phantom(int(generator.integers(4)), seed, TRAINING, side_px), generator)
    phantom = make_phantom(options)
    chunk = _Recorder(phantom.scene, Box(0, 0, side_px, side_px).padded(MARGIN_PX), "ihc")
    inner = (slice(MARGIN_PX, -MARGIN_PX), slice(MARGIN_PX, -MARGIN_PX))
    rgb = chunk.paint()[inner]
    nest = phantom.layout.sample(phantom.layout.nest, chunk.x, chunk.y)[inner] > 0
    return Scene(rgb, chunk.nuclei()[inner], chunk.wall[inner], nest, options.optics.white)


def _harder(options: PhantomOptions, generator: np.random.Generator) -> PhantomOptions:
    """Return a phantom with one of: pale counterstain, brown cytoplasm, saturated walls over pale holes, none."""
    staining, looks = options.staining, dict(options.looks)
    changes: dict[str, Any] = {}
    kind = generator.integers(4)
    if kind == 0:
        pale = generator.uniform(0.15, 0.5)
        changes["nuclear_od"] = tuple(pale * od for od in staining.nuclear_od)
    elif kind == 1:
        brown = generator.uniform(0.1, 0.5)
        changes["blush_od"] = (0.5 * brown, 1.2 * brown)
    elif kind == 2:
        gain = generator.uniform(1.0, 2.0)
        looks["3"] = MembraneLook(completeness=(0.95, 1.0), od=(0.9 * gain, 1.5 * gain), width_um=(1.9, 3.2))
        looks["2"] = MembraneLook(completeness=(0.95, 1.0), od=(0.35 * gain, 0.8 * gain), width_um=(0.9, 2.0))
        changes["blush_per_membrane"] = float(generator.uniform(0.05, 0.3))
        hole = generator.uniform(0.0, 0.4)
        changes["nuclear_od"] = tuple(hole * od for od in staining.nuclear_od)
        if generator.random() < 0.7:
            options = options.model_copy(update={"mix": {"3": 0.8, "2": 0.2}})
    if generator.random() < 0.3:
        changes["background_dab"] = float(generator.uniform(0, 0.12))
    return options.model_copy(update={"staining": staining.model_copy(update=changes), "looks": looks})
