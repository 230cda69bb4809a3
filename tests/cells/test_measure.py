"""Cells whose membrane is known are measured as they were drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cells.conftest import Canvas
from wsi_pipeline.cells.classify import CELL_CLASSES
from wsi_pipeline.cells.measure import Cells, Measurement, measure_cells
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.cells.paint import UNPAINTED, paint_classes
from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.stain.density import Stains

ASSAY = AssayProfile(name="test")
OPTIONS = CellOptions()


def measure(stains: Stains, mpp: Mpp, core: Box | None = None) -> Measurement:
    height, width = stains.dab.shape
    return measure_cells(stains, core or Box(0, 0, width, height), mpp, ASSAY, OPTIONS)


def only_cell(canvas: Canvas) -> Cells:
    cells = measure(canvas.stains(), canvas.mpp).cells
    assert len(cells) == 1
    return cells


def class_of(cells: Cells) -> str:
    return CELL_CLASSES[int(cells.class_index[0])]


@pytest.mark.parametrize(
    ("share", "od", "expected"),
    [
        (0.0, 0.0, "0"),
        (1.0, 1.1, "3"),
        (1.0, 0.45, "2"),
        (0.5, 0.6, "2i"),
        (0.5, 1.2, "2i"),
        (0.45, 0.2, "1"),
        (0.12, 0.6, "0"),
    ],
)
def test_completeness_and_intensity_decide_the_class(canvas: Canvas, share: float, od: float, expected: str) -> None:
    canvas.nucleus(200.3, 171.8)
    if share:
        canvas.membrane(200.3, 171.8, od=od, share=share)
    cells = only_cell(canvas)
    assert class_of(cells) == expected
    assert cells.completeness[0] == pytest.approx(share, abs=0.07)
    if share > 0.2:
        assert cells.intensity[0] == pytest.approx(od, rel=0.2)
    assert cells.tumour[0]
    assert (cells.x[0], cells.y[0]) == (pytest.approx(200.3, abs=2.5), pytest.approx(171.8, abs=2.5))


def test_nuclear_area_and_outline_follow_the_nucleus(canvas: Canvas) -> None:
    canvas.nucleus(310.0, 140.0, radius_um=3.6)
    cells = only_cell(canvas)
    assert cells.area_um2[0] == pytest.approx(np.pi * 3.6**2, rel=0.15)
    assert cells.elongation[0] < 1.4
    x_um = (cells.outline[0, :, 0] - 310.0) * canvas.mpp.x
    y_um = (cells.outline[0, :, 1] - 140.0) * canvas.mpp.y
    np.testing.assert_allclose(np.hypot(x_um, y_um), 3.6, atol=0.8)


@pytest.mark.parametrize("width_um", [0.8, 1.4, 2.2])
def test_thickness_is_the_full_width_at_half_height(width_um: float) -> None:
    canvas = Canvas(width=614, height=390, blur_um=0.1)
    canvas.nucleus(200.0, 170.0)
    canvas.membrane(200.0, 170.0, od=1.0, width_um=width_um)
    assert only_cell(canvas).thickness_um[0] == pytest.approx(width_um, abs=0.45)


def test_stained_nuclei_and_cytoplasm_are_no_membrane(canvas: Canvas) -> None:
    canvas.nucleus(120.0, 200.0)
    canvas.blob(120.0, 200.0, 3.4, 0.25)  # its own nucleus is stained
    canvas.nucleus(320.0, 200.0)
    canvas.blob(320.0 + 38, 200.0, 3.5, 1.2)  # a stained nucleus beside it, as in Ki67
    canvas.nucleus(500.0, 200.0)
    canvas.blob(500.0, 200.0, 7.0, 0.35)  # diffuse cytoplasm
    cells = measure(canvas.stains(), canvas.mpp).cells
    for x in (120.0, 320.0, 500.0):
        nearest = int(np.argmin(np.hypot(cells.x - x, cells.y - 200.0)))
        assert abs(cells.x[nearest] - x) < 8
        assert CELL_CLASSES[int(cells.class_index[nearest])] == "0", x


def test_stroma_and_lymphocytes_stay_out_of_the_denominator(canvas: Canvas) -> None:
    canvas.nucleus(100.0, 100.0)  # tumour
    canvas.spindle(300.0, 100.0, (7.5, 1.5))  # fibroblast
    canvas.nucleus(450.0, 100.0, radius_um=2.7, od=0.62)  # lymphocyte
    canvas.nucleus(560.0, 100.0, radius_um=1.5, od=0.5)  # debris
    cells = measure(canvas.stains(), canvas.mpp).cells
    assert cells.tumour[np.abs(cells.x - 100) < 8].all()
    assert not cells.tumour[np.abs(cells.x - 300) < 40].any()
    assert not cells.tumour[np.abs(cells.x - 450) < 8].any()
    assert not cells.tumour[np.abs(cells.x - 560) < 8].any()
    assert cells.tumour.sum() == 1


def test_a_strong_neighbour_does_not_stain_an_unstained_cell(canvas: Canvas) -> None:
    canvas.nucleus(200.0, 200.0)
    canvas.nucleus(200.0 + 48, 200.0)
    canvas.membrane(200.0 + 48, 200.0, od=1.1, width_um=1.2, at_um=5.2)
    cells = measure(canvas.stains(), canvas.mpp).cells
    order = np.argsort(cells.x)
    assert [CELL_CLASSES[int(index)] for index in cells.class_index[order]] == ["0", "3"]


def test_empty_glass_has_no_cells(canvas: Canvas) -> None:
    measured = measure(canvas.stains(), canvas.mpp)
    assert len(measured.cells) == 0
    assert measured.cells.outline.shape == (0, OPTIONS.directions, 2)
    assert (paint_classes(measured, np.zeros(0, bool), Box(0, 0, 614, 390), 8) == UNPAINTED).all()


def test_the_class_map_shows_each_cell_where_it_is(crowd: tuple[Stains, Mpp]) -> None:
    stains, mpp = crowd
    measured = measure(stains, mpp)
    core = Box(0, 0, stains.dab.shape[1], stains.dab.shape[0])
    picture = paint_classes(measured, measured.cells.tumour, core, 8)
    assert picture.shape == (113, 151)
    inside = measured.cells.tumour
    row, column = (measured.cells.y[inside] // 8).astype(int), (measured.cells.x[inside] // 8).astype(int)
    shown = picture[row, column]
    assert (shown == measured.cells.class_index[inside]).mean() > 0.95
    hidden = paint_classes(measured, np.zeros(len(measured.cells), bool), core, 8)
    assert (hidden == UNPAINTED).all()


@pytest.mark.parametrize("corner", [(0, 0), (40, 24)])
def test_the_class_map_lies_to_a_quarter_of_its_pixel(corner: tuple[int, int]) -> None:
    """Cells at all parts of a map px, of 8 px; a painted disc has an area of 20 map px."""
    map_px, canvas = 8, Canvas(width=632, height=392, mpp=Mpp(0.25, 0.25))
    for number, (row, column) in enumerate(np.ndindex(4, 7)):
        canvas.nucleus(80 + 80 * column + number % 8, 70 + 80 * row + (3 * number) % 8)
    measured = measure(canvas.stains(), canvas.mpp)
    core = Box(*corner, canvas.width - corner[0], canvas.height - corner[1])
    painted = paint_classes(measured, np.ones(len(measured.cells), bool), core, map_px) != UNPAINTED
    assert len(measured.cells) == 28
    rows, columns = np.nonzero(painted)
    x, y = corner[0] + (columns + 0.5) * map_px - 0.5, corner[1] + (rows + 0.5) * map_px - 0.5
    nearest = np.hypot(x[:, None] - measured.cells.x, y[:, None] - measured.cells.y).argmin(axis=1)
    count = np.bincount(nearest, minlength=28)
    apart_x = np.bincount(nearest, x, 28) / count - measured.cells.x
    apart_y = np.bincount(nearest, y, 28) / count - measured.cells.y
    assert np.abs([apart_x, apart_y]).max() < 0.25 * map_px
    assert np.abs([apart_x.mean(), apart_y.mean()]).max() < 0.15 * map_px  # nuclei lie on a grid of 2 px


def test_a_wall_belongs_to_the_strong_cell_behind_it(canvas: Canvas) -> None:
    canvas.nucleus(300.0, 200.0)  # unstained, the walls of two strong neighbours on its side of the half-way line
    for x in (300.0 - 48, 300.0 + 48):
        canvas.nucleus(x, 200.0)
        canvas.membrane(x, 200.0, od=1.1, width_um=1.2, at_um=7.0)
    cells = measure(canvas.stains(), canvas.mpp).cells
    order = np.argsort(cells.x)
    assert [CELL_CLASSES[int(index)] for index in cells.class_index[order]] == ["3", "0", "3"]


@pytest.mark.parametrize(("away_um", "seen"), [(13.4, False), (14.5, True)])
def test_a_neighbour_farther_away_than_a_cell_is_wide_owns_no_wall(
    canvas: Canvas, away_um: float, *, seen: bool
) -> None:
    x = 300.0 + away_um / canvas.mpp.x
    canvas.nucleus(300.0, 200.0)
    canvas.membrane(300.0, 200.0, od=0.5, share=0.18, at_um=5.0)
    canvas.nucleus(x, 200.0)
    canvas.membrane(x, 200.0, od=1.1, width_um=1.2, at_um=0.5 * away_um - 0.3)
    cells = measure(canvas.stains(), canvas.mpp).cells
    first, second = np.argsort(cells.x)
    assert CELL_CLASSES[int(cells.class_index[second])] == "3"
    assert bool(cells.completeness[first] > 0.2) is seen


def test_the_weak_part_of_a_membrane_decides_how_intense_it_is(canvas: Canvas) -> None:
    """Three fifths of it are strong, two fifths weak: the 35 % quantile lies in the weak part."""
    canvas.nucleus(200.0, 170.0)
    canvas.membrane(200.0, 170.0, od=0.4)
    canvas.membrane(200.0, 170.0, od=1.1, share=0.58)
    cells = only_cell(canvas)
    assert cells.completeness[0] > 0.9
    assert cells.intensity[0] == pytest.approx(0.4, rel=0.2)
    assert class_of(cells) == "2"


def test_a_stained_stretch_without_a_cell_behind_it_stays(canvas: Canvas) -> None:
    canvas.nucleus(300.0, 200.0)
    canvas.membrane(300.0, 200.0, od=0.6, share=0.4, at_um=5.0)
    canvas.nucleus(300.0 - 52, 200.0)  # an unstained neighbour disowns nothing
    cells = measure(canvas.stains(), canvas.mpp).cells
    order = np.argsort(cells.x)
    assert [CELL_CLASSES[int(index)] for index in cells.class_index[order]] == ["0", "2i"]


def test_the_edge_of_tissue_and_a_septum_are_no_cells_and_a_nucleus_there_is(canvas: Canvas) -> None:
    """Glass beside a piece of tissue makes it stand out, as a nucleus stands out from tissue."""
    rows, columns = np.mgrid[: canvas.height, : canvas.width]
    wavy = 200 + 14 * np.sin(rows / 17) + 7 * np.sin(rows / 6.1)
    septum = np.abs(columns - 420 - 9 * np.sin(rows / 19)) < 9 + 5 * np.sin(rows / 11)
    canvas.hematoxylin = 0.1 * ((columns < wavy) | septum)
    canvas.nucleus(190, 105, radius_um=3.6)
    canvas.nucleus(420, 262, radius_um=3.6)
    cells = measure(canvas.stains(), canvas.mpp).cells
    tumour = sorted(zip(cells.x[cells.tumour].round(), cells.y[cells.tumour].round(), strict=True))
    assert tumour == [pytest.approx((190, 105), abs=5), pytest.approx((420, 262), abs=5)]
