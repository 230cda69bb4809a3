"""Measure every cell of a region: nuclei, membrane profile, class; all cells of a region at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.classify import classify_membrane, is_tumour
from wsi_pipeline.cells.membrane import (
    Membrane,
    Nucleus,
    disown_walls,
    measure_membrane,
    measure_nucleus,
    own_radius,
    solid_dab,
)
from wsi_pipeline.cells.nuclei import Nuclei, find_nuclei, smooth
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.cells.rays import Profiles, Rays
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.stain.density import Stains

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """N cells of a region. `x`, `y` (N,) px of the image they were measured in; `outline` (N, D, 2) px, nuclear edge.

    `area_um2` nuclear area; `elongation` length over width; `hematoxylin`, `nuclear_dab` mean OD in the nucleus;
    `completeness` 0-1; `intensity` ridge OD, robust; `thickness_um`; `class_index` into CELL_CLASSES; `tumour` bool.
    """

    x: Floats
    y: Floats
    area_um2: Floats
    elongation: Floats
    hematoxylin: Floats
    nuclear_dab: Floats
    completeness: Floats
    intensity: Floats
    thickness_um: Floats
    class_index: NDArray[np.uint8]
    tumour: NDArray[np.bool_]
    outline: Floats

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.x)

    def chosen(self, keep: NDArray[np.bool_]) -> Cells:
        """Return the cells where `keep` (N,) is true."""
        return Cells(*(getattr(self, field.name)[keep] for field in fields(self)))


@dataclass(frozen=True)
class Measurement:
    """Cells inside the core, and every pixel's nearest nucleus for painting.

    `number` (N,) names each cell in `nuclei.owner`, whose grid covers core and halo.
    """

    cells: Cells
    nuclei: Nuclei
    number: NDArray[np.int64]


def measure_cells(
    stains: Stains, core: Box, mpp: Mpp, assay: AssayProfile, options: CellOptions, nuclei: Nuclei | None = None
) -> Measurement:
    """Measure the cells whose nucleus centre lies in `core` (px of the image) of unmixed `stains` (H, W).

    What surrounds the core (the halo) is only looked at, so that neighbouring regions count each cell once.
    `nuclei`: those of the whole image, where the classical finder does not seek them.
    """
    nuclei = find_nuclei(stains, mpp, options) if nuclei is None else nuclei
    x = (nuclei.column * nuclei.step + 0.5 * (nuclei.step - 1)).astype(np.float32)
    y = (nuclei.row * nuclei.step + 0.5 * (nuclei.step - 1)).astype(np.float32)
    around_x, around_y = options.neighbour_um / mpp.x, options.neighbour_um / mpp.y
    looked_at = np.flatnonzero(
        (x >= core.x - around_x) & (x < core.right + around_x) & (y >= core.y - around_y) & (y < core.bottom + around_y)
    )
    angle = (np.arange(options.directions) * 2 * np.pi / options.directions).astype(np.float32)
    radius = np.arange(0, options.ray_length_um, options.ray_step_um, dtype=np.float32)
    rays = Rays(x[looked_at], y[looked_at], angle, radius, mpp)
    number = looked_at + 1
    if len(looked_at) == 0:
        return Measurement(_no_cells(options.directions), nuclei, number)
    owner = rays.sample(nuclei.owner, nuclei.step, nearest=True)
    own_um = own_radius(owner, number.astype(np.float32), radius)
    evidence = smooth(nuclei.evidence, 0.7, nuclei.mpp)
    nucleus = measure_nucleus(rays.sample(evidence, nuclei.step), own_um, rays, options)
    dab = rays.sample(smooth(stains.dab, 0.25, mpp))
    solid = rays.sample(solid_dab(nuclei.dab, nuclei.mpp, options), nuclei.step)
    membrane = measure_membrane(dab, solid, nucleus, own_um, rays, options, assay)
    membrane = disown_walls(membrane, owner, number.astype(np.float32), rays, assay, options)
    hematoxylin = rays.sample(nuclei.hematoxylin, nuclei.step)
    cells, real = _table(rays, nucleus, membrane, hematoxylin, dab, assay, options)
    real |= nuclei.proven
    if nuclei.epithelium is not None:
        in_epithelium = nuclei.epithelium[looked_at] >= options.epithelium_min
        cells.tumour[:] &= in_epithelium | (cells.completeness >= assay.complete)  # as in is_tumour
    real &= (rays.x >= core.x) & (rays.x < core.right) & (rays.y >= core.y) & (rays.y < core.bottom)
    return Measurement(cells.chosen(real), nuclei, number[real])


def _table(
    rays: Rays,
    nucleus: Nucleus,
    membrane: Membrane,
    hematoxylin: Profiles,
    dab: Profiles,
    assay: AssayProfile,
    options: CellOptions,
) -> tuple[Cells, NDArray[np.bool_]]:
    """Return all candidates as a table, and which of them are real nuclei (N,) bool."""
    within = rays.radius <= 0.8 * nucleus.edge[..., None]
    count = np.maximum(within.sum(axis=(1, 2)), 1)
    inner = ((hematoxylin * within).sum(axis=(1, 2)) / count).astype(np.float32)
    nuclear_dab = ((dab * within).sum(axis=(1, 2)) / count).astype(np.float32)
    cells = Cells(
        rays.x,
        rays.y,
        nucleus.area,
        nucleus.elongation,
        inner,
        nuclear_dab,
        membrane.completeness,
        membrane.intensity,
        membrane.thickness,
        classify_membrane(membrane, assay),
        is_tumour(nucleus, inner, membrane, assay, options),
        rays.outline(nucleus.edge),
    )
    real = _is_nucleus(inner, hematoxylin, nucleus, membrane, rays, options)
    edge = _is_edge_of_tissue(inner, hematoxylin, dab, nucleus, membrane, rays, options)
    return cells, real & ~edge


def _is_nucleus(
    inner: Floats,
    hematoxylin: Profiles,
    nucleus: Nucleus,
    membrane: Membrane,
    rays: Rays,
    options: CellOptions,
) -> NDArray[np.bool_]:
    """Tell nuclei from gaps (N,) bool: blue inside, and ringed by membrane or bluer than the unstained surround.

    Where the membrane is stained its density scatters into the hematoxylin channel, so only unstained directions are
    compared with the inside.
    """
    outside = _beyond(hematoxylin, nucleus, rays, 1.2)
    bare = ~membrane.found
    surround = (outside * bare).sum(axis=1) / np.maximum(bare.sum(axis=1), 1)
    ringed = membrane.completeness >= 0.6
    smooth_form = nucleus.edge.std(axis=1) <= options.roughness * nucleus.edge.mean(axis=1)
    distinct = (surround <= options.surround_share * inner) & smooth_form
    return np.asarray((inner >= options.hematoxylin_min) & (ringed | distinct))


def _is_edge_of_tissue(
    inner: Floats,
    hematoxylin: Profiles,
    dab: Profiles,
    nucleus: Nucleus,
    membrane: Membrane,
    rays: Rays,
    options: CellOptions,
) -> NDArray[np.bool_]:
    """Tell a tissue's edge and a septum between fat vacuoles from a nucleus at such a place (N,) bool.

    Glass on one side or on both makes any piece of tissue stand out from its surroundings. A nucleus is bluer than the
    tissue on its other sides too. Where all is glass nothing can be compared, and the candidate stays.
    """
    blue, brown = (_beyond(profiles, nucleus, rays, 2.0) for profiles in (hematoxylin, dab))
    bare = ~membrane.found
    glass = bare & (blue + np.maximum(brown, 0) < options.glass_od)
    tissue = bare & ~glass
    count = tissue.sum(axis=1)
    surround = (blue * tissue).sum(axis=1) / np.maximum(count, 1)
    beside_glass = (glass.mean(axis=1) >= options.glass_share) & (membrane.completeness < 0.6)
    return np.asarray(beside_glass & (count >= 3) & (surround > options.surround_share * inner))


def _beyond(profiles: Profiles, nucleus: Nucleus, rays: Rays, beyond_um: float) -> Floats:
    """Return the profiles' value (N, D) at `beyond_um` outside the nuclear edge, or at the end of the ray."""
    spacing = rays.radius[1] - rays.radius[0]
    place = np.minimum(np.rint((nucleus.edge + beyond_um) / spacing), len(rays.radius) - 1).astype(np.int64)
    return np.asarray(np.take_along_axis(profiles, place[..., None], axis=2)[..., 0], dtype=np.float32)


def _no_cells(directions: int) -> Cells:
    """Return an empty table."""
    empty = np.zeros(0, np.float32)
    floats = (empty, empty, empty, empty, empty, empty, empty, empty, empty)
    return Cells(*floats, np.zeros(0, np.uint8), np.zeros(0, np.bool_), np.zeros((0, directions, 2), np.float32))
