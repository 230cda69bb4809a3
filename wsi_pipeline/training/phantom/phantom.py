"""A phantom: the tissue model, its truth, and its pixels."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom.artefacts import Artefacts
from wsi_pipeline.training.phantom.cells import pack
from wsi_pipeline.training.phantom.fields import Waves, rng_for
from wsi_pipeline.training.phantom.layout import Layout, make_layout
from wsi_pipeline.training.phantom.membranes import assign_classes, make_membranes
from wsi_pipeline.training.phantom.nuclei import joined, other_nuclei, tumour_nuclei
from wsi_pipeline.training.phantom.optics import Optics
from wsi_pipeline.training.phantom.options import CLASSES, PhantomOptions, Stain
from wsi_pipeline.training.phantom.render import Chunk, Scene, Textures
from wsi_pipeline.training.phantom.truth import TumourCells, truth_of

CHUNK_PX = 512
"""Side of the blocks that are really painted; they lie on a fixed lattice, so any cut shows the same pixels."""

MARGIN_PX = 12
"""Painted around each block, more than the blur reaches."""

FAT_CELL_UM = 34.0
"""Spacing of fat cells: smaller than real ones (50-100 um), to fit a small slide."""


class Phantom:
    """Synthetic tissue whose every cell is known; pixels are painted on demand, so memory stays bounded."""

    def __init__(self, scene: Scene, cells: TumourCells, island_radius_um: float) -> None:
        """Wrap a finished scene; use `make_phantom`."""
        self.options: PhantomOptions = scene.options
        self.cells = cells
        self.scene = scene
        """The vector model that is drawn."""
        self._island_radius_um = island_radius_um
        self._kept: OrderedDict[tuple[int, int, Stain], NDArray[np.uint8]] = OrderedDict()

    @property
    def layout(self) -> Layout:
        """Distance maps of tissue, nests and other structures, um."""
        return self.scene.layout

    def truth(self, stain: Stain | None = None) -> dict[str, Any]:
        """Return everything known about the phantom, ready for JSON."""
        return truth_of(self.scene, self.cells, self._island_radius_um, stain or self.options.stain)

    def render_block(self, box_l0: Box, stain: Stain | None = None) -> NDArray[np.uint8]:
        """Return uint8 (height, width, 3) RGB of a level-0 box; outside the slide it is clean glass."""
        out = np.empty((box_l0.height, box_l0.width, 3), dtype=np.uint8)
        for row in range(box_l0.y // CHUNK_PX, -(-box_l0.bottom // CHUNK_PX)):
            for column in range(box_l0.x // CHUNK_PX, -(-box_l0.right // CHUNK_PX)):
                part = box_l0.intersection(Box(column * CHUNK_PX, row * CHUNK_PX, CHUNK_PX, CHUNK_PX))
                block = self._chunk(column, row, stain or self.options.stain)
                y, x = part.y - row * CHUNK_PX, part.x - column * CHUNK_PX
                out[part.y - box_l0.y : part.bottom - box_l0.y, part.x - box_l0.x : part.right - box_l0.x] = block[
                    y : y + part.height, x : x + part.width
                ]
        return out

    def _chunk(self, column: int, row: int, stain: Stain) -> NDArray[np.uint8]:
        """Return one lattice block, painted or remembered (a row of blocks of the slide is kept)."""
        key = (column, row, stain)
        if key not in self._kept:
            box = Box(column * CHUNK_PX, row * CHUNK_PX, CHUNK_PX, CHUNK_PX).padded(MARGIN_PX)
            image = Chunk(self.scene, box, stain).paint()
            self._kept[key] = np.ascontiguousarray(image[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])
            while len(self._kept) > self.options.width // CHUNK_PX + 2:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def make_phantom(options: PhantomOptions) -> Phantom:
    """Build the tissue of `options` and decide on every cell; nothing is painted yet."""
    layout = make_layout(options)
    tumour = pack(layout, layout.nest, options.tissue.cell_um, rng_for(options.seed, "tumour cells"))
    fat = pack(layout, layout.fat, FAT_CELL_UM, rng_for(options.seed, "fat cells"))
    piece = layout.piece_of(tumour.seeds)
    scored = np.array([layout.pieces[k].kind == "tumour" for k in piece], dtype=bool)
    classes, radius = assign_classes(options, tumour.seeds, scored)
    membranes = make_membranes(options, classes)
    slim = np.float32(0.28) * membranes.width_um * (classes == CLASSES.index("3"))
    oval = tumour_nuclei(options, tumour, slim.astype(np.float32))
    warp_rng = rng_for(options.seed, "warp")
    warp = (Waves.random(warp_rng, 16, (6.0, 34.0), 0.45), Waves.random(warp_rng, 16, (6.0, 34.0), 0.45))
    flow = Waves.random(rng_for(options.seed, "flow"), 8, (70.0, 260.0), 14.0)
    scene = Scene(
        options=options,
        layout=layout,
        tumour=tumour,
        fat=fat,
        membranes=membranes,
        nuclei=joined([oval, other_nuclei(options, layout, flow)]),
        textures=Textures.of(options.seed),
        warp=warp,
        flow=flow,
        optics=Optics.of(options),
        artefacts=Artefacts.of(options, layout),
    )
    cells = TumourCells(scene.unwarped(oval.xy), classes, scored, piece)
    return Phantom(scene, cells, radius)
