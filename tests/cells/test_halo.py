"""A region with its halo has the cells that the whole slide has there, and the halo is no wider than that takes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cells.conftest import Canvas
from wsi_pipeline.cells.classify import CELL_CLASSES
from wsi_pipeline.cells.measure import measure_cells
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.flows.region import measured_window
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.stain.density import Stains

ASSAY = AssayProfile(name="test")
OPTIONS = CellOptions()

BORDER_PX = 300
"""Left border of the region in the scene of `in_need`, px."""


def cells_of(stains: Stains, mpp: Mpp, core: Box, window: Box) -> np.ndarray:
    """Return x, y, class, and measurements of the cells in `core`, one row each, when no more than `window` is seen."""
    rows, columns = window.slices_in(Box(0, 0, stains.dab.shape[1], stains.dab.shape[0]))
    part = Stains(*(np.ascontiguousarray(plane[rows, columns]) for plane in stains))
    inner = Box(core.x - window.x, core.y - window.y, core.width, core.height)
    cells = measure_cells(part, inner, mpp, ASSAY, OPTIONS).cells
    table = np.stack(
        (
            cells.x + window.x, cells.y + window.y, cells.class_index, cells.tumour, cells.completeness,
            cells.intensity, cells.area_um2, cells.elongation, cells.hematoxylin, cells.nuclear_dab, cells.thickness_um,
        ),
        axis=1,
    ).astype(np.float64)  # fmt: skip
    return table[np.lexsort((table[:, 0], table[:, 1]))]


def seen(stains: Stains, core: Box, halo: int) -> Box:
    """Return `core` with its halo, cut at the edge of the picture."""
    return core.padded(halo).intersection(Box(0, 0, stains.dab.shape[1], stains.dab.shape[0]))


def assert_same_cells(found: np.ndarray, expected: np.ndarray) -> None:
    """Check that places and classes are equal, and so are measurements but for ties.

    Box filters are running sums, whose last bit depends on where they begin; a tie between two radii may fall either
    way.
    """
    np.testing.assert_array_equal(found[:, :4], expected[:, :4])
    same = np.isclose(found[:, 4:], expected[:, 4:], rtol=1e-3, atol=1e-4).all(axis=1)
    assert (~same).sum() <= 1 + 0.01 * len(same)


def in_need(rival_od: float) -> tuple[Stains, Mpp]:
    """Return a cell at the left border of the core at BORDER_PX that needs the whole halo.

    Beyond the border, to the left: 13.6 um from the cell a completely stained neighbour, whose wall the cell sees; a
    spacing of 4 um farther a rival nucleus, of which only one can stand; and 24 to 27 um from the border, where the
    rival's surround ends, a band of hematoxylin that takes from the rival what it is ahead.
    """
    mpp = Mpp(0.25, 0.25)
    canvas = Canvas(width=600, height=361, mpp=mpp)
    x, y = BORDER_PX + 4.0, 180.0
    canvas.nucleus(x, y)
    canvas.membrane(x, y, od=0.5, share=0.18, at_um=5.0)
    neighbour = x - 13.6 / 0.25
    canvas.nucleus(neighbour, y, radius_um=3.0)
    canvas.membrane(neighbour, y, od=1.1, width_um=1.2, at_um=7.0)
    canvas.nucleus(neighbour - 4.0 / 0.25, y, radius_um=3.0, od=rival_od)
    band = canvas.hematoxylin[:, BORDER_PX - 108 : BORDER_PX - 96]
    np.maximum(band, 0.7, out=band)
    return canvas.stains(noise=0.0), mpp


@pytest.mark.parametrize(("rival_od", "name"), [(0.30, "2i"), (0.38, "2i")])
def test_eight_px_less_would_change_a_cell(rival_od: float, name: str) -> None:
    stains, mpp = in_need(rival_od)
    core, halo = Box(BORDER_PX, 100, 200, 160), OPTIONS.halo_px(mpp)
    found, wide, narrow = (cells_of(stains, mpp, core, seen(stains, core, px))[:1] for px in (halo, 2 * halo, halo - 8))
    assert_same_cells(found, wide)
    assert CELL_CLASSES[int(found[0, 2])] == name
    assert found[0, 4] - narrow[0, 4] > 0.03  # completeness


def test_the_halo_holds_a_neighbour_and_what_decides_where_it_is() -> None:
    assert OPTIONS.halo_px(Mpp(0.25, 0.25)) == 104  # 14 + 7 + 4 + 0.5 um are 102 px
    assert OPTIONS.halo_px(Mpp(0.5, 0.25)) == 104  # the finer axis
    assert OPTIONS.model_copy(update={"neighbour_um": 16.0}).halo_px(Mpp(0.25, 0.25)) == 112
    assert OPTIONS.model_copy(update={"nucleus_spacing_um": 6.1}).halo_px(Mpp(0.25, 0.25)) == 112
    assert OPTIONS.model_copy(update={"surround_um": 18.1}).halo_px(Mpp(0.25, 0.25)) == 112
    assert OPTIONS.model_copy(update={"nucleus_sigma_um": 3.1}).halo_px(Mpp(0.25, 0.25)) == 112
    assert OPTIONS.model_copy(update={"ray_length_um": 13.1}).halo_px(Mpp(0.25, 0.25)) == 112


@settings(max_examples=25)
@given(st.integers(0, 137), st.integers(0, 100), st.integers(5, 88), st.integers(5, 62))
def test_any_cut_of_a_crowd_has_the_same_cells(
    crowd: tuple[Stains, Mpp], x: int, y: int, width: int, height: int
) -> None:
    stains, mpp = crowd
    frame = Box(0, 0, stains.dab.shape[1], stains.dab.shape[0])
    core = Box(x, y, width, height).scaled(8).intersection(frame)
    found = cells_of(stains, mpp, core, seen(stains, core, OPTIONS.halo_px(mpp)))
    assert_same_cells(found, cells_of(stains, mpp, core, frame))


def disorder(seed: int, mpp: Mpp, width: int, height: int) -> Stains:
    """Return nuclei, rings and blots of all sizes and densities thrown over each other, denser than any tissue."""
    generator = np.random.default_rng(seed)
    blue, brown = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for _ in range(int(width * height * mpp.x * mpp.y / 90)):
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        radius = generator.uniform(1.5, 5.0)
        size = 2 * radius / mpp.x, 2 * radius * generator.uniform(0.5, 1) / mpp.y
        cv2.ellipse(blue, ((x, y), size, generator.uniform(0, 180)), generator.uniform(0.08, 0.7), -1)
        if generator.random() < 0.6:
            ring = radius + generator.uniform(0.8, 5)
            thick = max(1, int(generator.uniform(0.8, 2.5) / mpp.x))
            cv2.ellipse(brown, ((x, y), (2 * ring / mpp.x, 2 * ring / mpp.y), 0), generator.uniform(0.1, 1.3), thick)
        if generator.random() < 0.1:
            place = int(generator.uniform(0, width)), int(generator.uniform(0, height))
            cv2.circle(brown, place, int(generator.uniform(2, 7) / mpp.x), generator.uniform(0.1, 1), -1)
    sigma = 0.25 / mpp.x
    noise = generator.normal(0, 0.004, (2, height, width)).astype(np.float32)
    return Stains(
        *(cv2.GaussianBlur(plane, (0, 0), sigma) + grain for plane, grain in zip((blue, brown), noise, strict=True))
    )


@pytest.mark.parametrize("mpp", [Mpp(0.25, 0.26), Mpp(0.17, 0.17), Mpp(0.46, 0.47)])
def test_regions_side_by_side_have_each_cell_once(mpp: Mpp) -> None:
    """At 0.17 um/px the grid of nuclei is one px in three, which divides no region."""
    step = 24
    wide, high = 31 * step, 27 * step
    stains, frame = disorder(5, mpp, wide, high), Box(0, 0, wide, high)
    core = Box(144, 192, 437, 281)
    expected = cells_of(stains, mpp, core, frame)
    found = []
    for left, right in ((core.x, 256), (256, core.right)):
        for top, bottom in ((core.y, 320), (320, core.bottom)):
            part = Box(left, top, right - left, bottom - top)
            found.append(cells_of(stains, mpp, part, measured_window(part, mpp, OPTIONS).intersection(frame)))
    cells = np.concatenate(found)
    assert len(expected) > 15
    assert_same_cells(cells[np.lexsort((cells[:, 0], cells[:, 1]))], expected)


def test_windows_hold_the_halo_and_lie_on_one_grid() -> None:
    mpp = Mpp(0.17, 0.17)
    for core in (Box(0, 0, 256, 256), Box(512, 256, 100, 37), Box(2048, 4096, 2048, 1001)):
        window = measured_window(core, mpp, OPTIONS)
        assert window.intersection(core.padded(OPTIONS.halo_px(mpp))) == core.padded(OPTIONS.halo_px(mpp))
        assert [side % 24 for side in window] == [0, 0, 0, 0]
