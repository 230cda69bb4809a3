"""Nuclei that a network finds: the same whatever the cut, at their right places at every pixel size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.cells.conftest import Canvas
from wsi_pipeline.cells.measure import Cells, measure_cells
from wsi_pipeline.cells.network_finder import View, find_nuclei_by_network, view_of
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.flows.region import measured_window
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.models.cell_network import HALO_PX, UNIT_PX
from wsi_pipeline.stain.density import StainVectors, unmix

ASSAY = AssayProfile(name="test")
OPTIONS = CellOptions(finder="network")
WHITE = (250.0, 248.0, 244.0)
FAR_PX = 90
"""How far the drawn network looks, px: nearly as far as the true one."""


def drawn_network(density: np.ndarray) -> np.ndarray:
    """Answer as a network might: what is bluish is nucleus, less so where it is dense up to FAR_PX away."""
    assert density.dtype == np.float32
    assert [side % UNIT_PX for side in density.shape[1:]] == [0, 0]
    blue = density[0] - 0.4 * density[2]
    far = cv2.blur(blue, (2 * FAR_PX + 1, 1), borderType=cv2.BORDER_CONSTANT)
    core = cv2.GaussianBlur(blue, (9, 9), 2.0) / 0.16
    return np.stack([40 * blue - 3 - far, core, np.zeros_like(blue), np.zeros_like(blue)]).astype(np.float32)


def picture(canvas: Canvas) -> np.ndarray:
    """Return the densities as the pixels of a scanner, (H, W, 3) uint8."""
    stains, vectors = canvas.stains(), StainVectors()
    units = [np.asarray(pair) / np.linalg.norm(pair) for pair in (vectors.hematoxylin, vectors.dab)]
    density = stains.hematoxylin[..., None] * units[0] + stains.dab[..., None] * units[1]
    return np.clip(np.rint(np.asarray(WHITE) * 10**-density), 1, 255).astype(np.uint8)


def part_of(rgb: np.ndarray, box: Box) -> np.ndarray:
    """Return the pixels of `box`, white outside the picture, as slides are read."""
    height, width = rgb.shape[:2]
    whole = np.full((box.height, box.width, 3), 255, np.uint8)
    inside = box.intersection(Box(0, 0, width, height))
    whole[inside.slices_in(box)] = rgb[inside.slices_in(Box(0, 0, width, height))]
    return whole


def cells_in(rgb: np.ndarray, core: Box, mpp: Mpp) -> Cells:
    """Measure the cells of `core` as a region does, places in px of the picture."""
    window = measured_window(core, mpp, OPTIONS)
    read = view_of(mpp, OPTIONS).needed(window)
    wide = part_of(rgb, read)
    stains = unmix(wide[window.slices_in(read)], WHITE, ASSAY.vectors)
    nuclei = find_nuclei_by_network(drawn_network, wide, window, WHITE, stains, mpp, OPTIONS)
    inner = Box(core.x - window.x, core.y - window.y, core.width, core.height)
    cells = measure_cells(stains, inner, mpp, ASSAY, OPTIONS, nuclei).cells
    cells.x[:] += window.x
    cells.y[:] += window.y
    return cells


def table(cells: Cells) -> np.ndarray:
    """Return places, classes and measurements, one row per cell, by place."""
    columns = (
        cells.x, cells.y, cells.class_index, cells.tumour, cells.area_um2, cells.elongation, cells.completeness,
        cells.intensity, cells.hematoxylin,
    )  # fmt: skip
    rows = np.stack(columns, axis=1).astype(np.float64)
    return rows[np.lexsort((rows[:, 0], rows[:, 1]))]


def crowd(mpp: Mpp, width_um: float = 331.0, height_um: float = 217.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture of a field of cells, and their centres (N, 2) px."""
    canvas = Canvas(width=int(width_um / mpp.x), height=int(height_um / mpp.y), mpp=mpp)
    generator, centres = np.random.default_rng(5), []
    for row, column in np.ndindex(int(height_um / 15), int(width_um / 16)):
        x_um = 11 + 16 * column + 5 * (row % 2) + generator.uniform(-1.5, 1.5)
        y_um = 10 + 15 * row + generator.uniform(-1.5, 1.5)
        x, y = x_um / mpp.x, y_um / mpp.y
        if x > canvas.width - 6 / mpp.x or y > canvas.height - 6 / mpp.y:
            continue
        reach_x, reach_y = 9 / mpp.x, 9 / mpp.y
        reach = slice(max(int(y - reach_y), 0), int(y + reach_y)), slice(max(int(x - reach_x), 0), int(x + reach_x))
        small = Canvas(width=reach[1].stop - reach[1].start, height=reach[0].stop - reach[0].start, mpp=mpp)
        small.nucleus(x - reach[1].start, y - reach[0].start, radius_um=generator.uniform(2.8, 3.6))
        if (row + column) % 3:
            small.membrane(x - reach[1].start, y - reach[0].start, od=(0.25, 0.9)[row % 2])
        height, width = canvas.dab[reach].shape
        canvas.dab[reach] = np.maximum(canvas.dab[reach], small.dab[:height, :width])
        canvas.hematoxylin[reach] = np.maximum(canvas.hematoxylin[reach], small.hematoxylin[:height, :width])
        centres.append((x, y))
    return picture(canvas), np.array(centres)


SIZES = [Mpp(0.25, 0.25), Mpp(0.243, 0.251), Mpp(0.36, 0.36), Mpp(0.17, 0.17), Mpp(0.5, 0.47)]


@pytest.mark.parametrize("mpp", SIZES, ids=str)
def test_nuclei_are_found_where_they_are(mpp: Mpp) -> None:
    rgb, centres = crowd(mpp)
    cells = cells_in(rgb, Box(0, 0, rgb.shape[1], rgb.shape[0]), mpp)
    off_x, off_y = cells.x[:, None] - centres[:, 0], cells.y[:, None] - centres[:, 1]
    nearest = np.hypot(off_x * mpp.x, off_y * mpp.y).argmin(axis=0)
    off = np.stack([off_x[nearest, range(len(centres))] * mpp.x, off_y[nearest, range(len(centres))] * mpp.y])
    assert len(cells) == len(centres)
    assert np.abs(off).max() < 1.0
    np.testing.assert_allclose(off.mean(axis=1), 0, atol=0.1)
    assert np.median(cells.area_um2) == pytest.approx(32, abs=8)


@pytest.mark.parametrize("mpp", SIZES, ids=str)
def test_a_cut_changes_no_cell(mpp: Mpp) -> None:
    rgb, _ = crowd(mpp)
    whole = table(cells_in(rgb, Box(0, 0, rgb.shape[1], rgb.shape[0]), mpp))
    height, width = rgb.shape[:2]
    across, down = 8 * int(0.45 * width / 8), 8 * int(0.6 * height / 8)
    parts = [
        table(cells_in(rgb, Box(x, y, right - x, bottom - y), mpp))
        for x, right in ((0, across), (across, width))
        for y, bottom in ((0, down), (down, height))
    ]
    joined = np.concatenate(parts)
    joined = joined[np.lexsort((joined[:, 0], joined[:, 1]))]
    np.testing.assert_array_equal(joined[:, :4], whole[:, :4])
    np.testing.assert_allclose(joined[:, 4:], whole[:, 4:], rtol=1e-3, atol=1e-4)


def test_pale_holes_are_cells() -> None:
    """A nucleus without hematoxylin inside a saturated membrane: what the classical finder takes for a gap."""
    canvas = Canvas(width=408, height=304, mpp=Mpp(0.25, 0.25))
    canvas.dab += 0.8
    for x in (100.0, 210.0, 320.0):
        canvas.dab = np.where(canvas._polar(x, 150)[0] < 3.4, 0.05, canvas.dab)
    rgb = picture(canvas)

    def holes(density: np.ndarray) -> np.ndarray:
        pale = 0.4 - density.sum(axis=0)
        core = cv2.GaussianBlur(pale, (9, 9), 2.0) / 0.3
        return np.stack([30 * pale, core, pale, np.full_like(pale, 5)]).astype(np.float32)

    window = Box(0, 0, 408, 304)
    read = view_of(canvas.mpp, OPTIONS).needed(window)
    stained = cv2.copyMakeBorder(rgb, -read.y, read.bottom - 304, -read.x, read.right - 408, cv2.BORDER_REPLICATE)
    stains = unmix(rgb, WHITE, ASSAY.vectors)
    nuclei = find_nuclei_by_network(holes, stained, window, WHITE, stains, canvas.mpp, OPTIONS)
    found = measure_cells(stains, window, canvas.mpp, ASSAY, OPTIONS, nuclei).cells
    assert sorted(np.rint(found.x / 10)) == [10, 21, 32]
    assert found.tumour.all()
    assert len(measure_cells(stains, window, canvas.mpp, ASSAY, OPTIONS).cells) == 0


@pytest.mark.parametrize("mpp", SIZES, ids=str)
def test_windows_hold_the_view_and_lie_on_one_grid(mpp: Mpp) -> None:
    view = view_of(mpp, OPTIONS)
    for window in (Box(0, 0, 512, 264), Box(2048, 4104, 520, 2056), Box(-48, -96, 528, 240)):
        seen, read = view.seen(window), view.needed(window)
        assert [side % UNIT_PX for side in seen] == [0, 0, 0, 0]
        assert seen.x * view.ratio_x <= window.x - HALO_PX * view.ratio_x
        assert seen.bottom * view.ratio_y >= window.bottom + HALO_PX * view.ratio_y
        assert read.x <= seen.x * view.ratio_x
        assert seen.right * view.ratio_x <= read.right < seen.right * view.ratio_x + 1


def test_a_grid_near_the_networks_is_shown_as_it_is() -> None:
    assert view_of(Mpp(0.25, 0.25), OPTIONS) == View(2.0, 2.0)
    assert view_of(Mpp(0.2325, 0.2325), OPTIONS) == View(2.0, 2.0)
    assert view_of(Mpp(0.46, 0.46), OPTIONS) == View(1.0, 1.0)
    assert view_of(Mpp(0.36, 0.36), OPTIONS) == View(0.5 / 0.36, 0.5 / 0.36)
