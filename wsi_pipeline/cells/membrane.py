"""The membrane around each nucleus: completeness, intensity and thickness, measured along rays.

A membrane is a ridge of DAB: it falls off on the side of its own cytoplasm and, within a membrane's width, on the far
side. Diffuse cytoplasmic stain and stained nuclei (Ki67) have no such ridge and so do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.cells.nuclei import disk
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.cells.rays import Profiles, Rays, circular_smooth
from wsi_pipeline.geometry import Mpp

GREY_PER_OD = 100
"""Grey levels per OD of the 8-bit density that is opened; 2.55 OD and more saturate, far above any cut-off."""

BEHIND_UM = 1.4
"""How far behind the middle of a wall the cell on its other side is looked for, um: past half the thickest membrane."""

ELONGATION_REACH_UM = 5.0
"""How far from its centre a nucleus' form is looked at, um: within it a tumour nucleus ends, a spindle goes on."""

WEAK_SHARE = 0.35
"""Quantile of the ridge densities that stands for the whole membrane. Below the median, because the wall of a strong
neighbour is often seen from a weak cell: on phantoms of known truth 0.35 halved such errors against the median."""

EDGE_WEIGHTS = (0.12, 0.22, 0.32, 0.22, 0.12)
"""Neighbouring directions vote on the nuclear edge, since a nucleus is round (binomial-like, sums to 1)."""


class Nucleus(NamedTuple):
    """Nuclear form per cell: `edge` (N, D) um; `area` (N,) um2; `elongation` (N,) length over width."""

    edge: NDArray[np.float32]
    area: NDArray[np.float32]
    elongation: NDArray[np.float32]


class Membrane(NamedTuple):
    """Membrane per cell: `completeness` (N,) 0-1, `intensity` (N,) OD, `thickness` (N,) um.

    On each ray: `found` (N, D) bool, `density` (N, D) OD of the densest place, `place` (N, D) its index into the radii.
    """

    completeness: NDArray[np.float32]
    intensity: NDArray[np.float32]
    thickness: NDArray[np.float32]
    found: NDArray[np.bool_]
    density: NDArray[np.float32]
    place: NDArray[np.int64]


def own_radius(owner: Profiles, number: NDArray[np.float32], radius: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far (N, D) um each ray stays nearer to its own nucleus, `number` (N,), than to any other."""
    foreign = owner != number[:, None, None]
    first = np.where(foreign.any(axis=2), foreign.argmax(axis=2), owner.shape[2])
    return np.asarray(first * (radius[1] - radius[0]), dtype=np.float32)


def measure_nucleus(evidence: Profiles, own_um: NDArray[np.float32], rays: Rays, options: CellOptions) -> Nucleus:
    """Find the nuclear edge as the steepest fall of nucleus evidence along each ray, and the nucleus' form."""
    least, largest = options.nucleus_radius_um
    middle = rays.radius[1:-1]
    fall = circular_smooth(evidence[:, :, 2:] - evidence[:, :, :-2], EDGE_WEIGHTS)
    allowed = (middle >= least) & (middle <= largest) & (middle <= own_um[..., None] + rays.radius[1])
    edge = middle[np.where(allowed, fall, np.float32(np.inf)).argmin(axis=2)]
    neighbours = np.stack([np.roll(edge, shift, axis=1) for shift in (-2, -1, 0, 1, 2)])
    edge = np.maximum(np.median(neighbours, axis=0), np.float32(least)).astype(np.float32)
    area = 0.5 * np.sin(2 * np.pi / len(rays.angle)) * (edge * np.roll(edge, 1, axis=1)).sum(axis=1)
    return Nucleus(edge, area.astype(np.float32), _elongation(evidence, rays))


def _elongation(evidence: Profiles, rays: Rays) -> NDArray[np.float32]:
    """Return the length-to-width ratio (N,) from the second moments of the evidence that is joined to the centre.

    Of each ray counts what lies before the first fall to half the central value, at most ELONGATION_REACH_UM. Unlike
    the outline this neither ends at the half-way line to a second centre in one long nucleus nor is it rounded off.
    """
    near = rays.radius <= ELONGATION_REACH_UM
    radius, profile = rays.radius[near], evidence[:, :, near]
    centre = np.maximum(profile[:, :, :3].mean(axis=(1, 2)), np.float32(1e-3))[:, None, None]
    above = profile - 0.5 * centre
    joined = np.cumsum(above < 0, axis=2) == 0
    weight = (
        np.where(joined, np.minimum(above, 0.5 * centre), 0) * radius
    )  # a sample stands for an arc, so for more area farther out
    x, y = np.cos(rays.angle)[:, None] * radius, np.sin(rays.angle)[:, None] * radius
    total = weight.sum(axis=(1, 2)) + np.float32(1e-9)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(np.einsum("ndr,dr->n", weight, values) / total, dtype=np.float32)

    middle_x, middle_y = mean(x), mean(y)
    xx, yy, xy = mean(x * x) - middle_x**2, mean(y * y) - middle_y**2, mean(x * y) - middle_x * middle_y
    spread = np.hypot(xx - yy, 2 * xy)
    return np.asarray(np.sqrt((xx + yy + spread) / np.maximum(xx + yy - spread, 1e-6)), dtype=np.float32)


def solid_dab(dab: NDArray[np.float32], mpp: Mpp, options: CellOptions) -> NDArray[np.float32]:
    """Return the DAB (h, w) OD of the nearest stained body too wide for a membrane: nucleus, cytoplasm, pigment.

    A grey-level opening with a disk, grown so that it covers the blurred rim of that body; on 8 bits (0.01 OD), where
    it is many times faster than on floats.
    """
    grey = cv2.convertScaleAbs(np.maximum(dab, 0), alpha=GREY_PER_OD)
    body = cv2.morphologyEx(grey, cv2.MORPH_OPEN, disk(0.5 * options.solid_um, mpp))
    return np.asarray(cv2.dilate(body, disk(options.solid_rim_um, mpp)) / np.float32(GREY_PER_OD), dtype=np.float32)


def measure_membrane(
    dab: Profiles,
    solid: Profiles,
    nucleus: Nucleus,
    own_um: NDArray[np.float32],
    rays: Rays,
    options: CellOptions,
    assay: AssayProfile,
) -> Membrane:
    """Find the strongest DAB ridge between nuclear edge and cell limit on every ray."""
    radius, spacing = rays.radius, float(rays.radius[1] - rays.radius[0])
    start = np.maximum(nucleus.edge - 0.3, options.nucleus_radius_um[0] - 0.2)
    stop = np.minimum(own_um + options.shared_wall_um, nucleus.edge + options.membrane_reach_um)
    allowed = (radius >= start[..., None]) & (radius <= stop[..., None])
    place = np.where(allowed, dab, np.float32(-1)).argmax(axis=2)[..., None]
    peak = np.take_along_axis(dab, place, axis=2)[..., 0]
    position = np.arange(len(radius))
    reach = max(1, round(options.membrane_width_um / spacing))
    inner = np.where(position <= place, dab, np.float32(np.inf)).min(axis=2)
    outer = np.where((position >= place) & (position <= place + reach), dab, np.float32(np.inf)).min(axis=2)
    ridge = peak - np.maximum(inner, outer)
    body = np.take_along_axis(solid, place, axis=2)[..., 0]
    found = (ridge > assay.faint) & (body < options.solid_share * peak)
    half = peak - 0.5 * ridge
    near = (position >= place - reach) & (position <= place + reach)
    width = ((dab > half[..., None]) & near).sum(axis=2) * spacing
    count = np.maximum(found.sum(axis=1), 1)
    return Membrane(
        found.mean(axis=1, dtype=np.float32),
        _weak_end(peak, found),
        ((width * found).sum(axis=1) / count).astype(np.float32),
        found,
        peak,
        place[..., 0],
    )


def disown_walls(
    membrane: Membrane,
    owner: Profiles,
    number: NDArray[np.float32],
    rays: Rays,
    assay: AssayProfile,
    options: CellOptions,
) -> Membrane:
    """Return the membranes less the walls that belong to a neighbour, which a weak cell sees from its own side.

    A cell that is stained in few directions does not own a stained wall behind which lies a completely stained cell
    that is as dense or denser (within noise). `number` (N,) names the cells in `owner` (N, D, R); only those count.
    """
    known = np.zeros(int(max(owner.max(), number.max())) + 1, np.int64)
    known[number.astype(np.int64)] = np.arange(1, len(number) + 1)
    beyond = np.minimum(membrane.place + round(BEHIND_UM / float(rays.radius[1])), len(rays.radius) - 1)
    neighbour = known[
        np.take_along_axis(owner, beyond[..., None], axis=2)[..., 0].astype(np.int64)
    ]  # 1-based, 0 unknown
    completeness, intensity, x, y = (
        np.concatenate([[0.0], values])[neighbour]
        for values in (membrane.completeness, membrane.intensity, rays.x * rays.mpp.x, rays.y * rays.mpp.y)
    )
    near = np.hypot(x - (rays.x * rays.mpp.x)[:, None], y - (rays.y * rays.mpp.y)[:, None]) <= options.neighbour_um
    foreign = (neighbour > 0) & (neighbour != np.arange(1, len(number) + 1)[:, None]) & near
    stronger = (completeness >= assay.complete) & (intensity >= options.stronger * membrane.intensity[:, None])
    weak = membrane.completeness < options.weak_completeness
    found = membrane.found & ~(weak[:, None] & foreign & stronger)
    return membrane._replace(
        completeness=found.mean(axis=1, dtype=np.float32), intensity=_weak_end(membrane.density, found), found=found
    )


def _weak_end(values: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the WEAK_SHARE quantile (N,) of each row's chosen values; 0 where none is chosen."""
    ordered = np.sort(np.where(chosen, values, np.float32(np.inf)), axis=1)
    count = chosen.sum(axis=1)
    place = np.maximum((WEAK_SHARE * (count - 1)).astype(np.int64), 0)[:, None]
    return np.where(count > 0, np.take_along_axis(ordered, place, axis=1)[:, 0], 0).astype(np.float32)
