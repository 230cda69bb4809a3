"""The pixels and the truth of a phantom agree, and do not depend on how the slide is cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial import cKDTree

from wsi_pipeline.geometry import Box
from wsi_pipeline.training.phantom import CLASSES, Island, Phantom, PhantomOptions, make_phantom, random_options
from wsi_pipeline.training.phantom.fields import Waves
from wsi_pipeline.training.phantom.nuclei import KINDS
from wsi_pipeline.training.phantom.optics import Optics
from wsi_pipeline.training.phantom.options import OpticsOptions, StainOptions, TissueOptions
from wsi_pipeline.training.phantom.render import Chunk

REFERENCE = np.array([(0.65, 0.70, 0.29), (0.27, 0.57, 0.78)])
REFERENCE = REFERENCE / np.linalg.norm(REFERENCE, axis=1, keepdims=True)


def unmixed(image: np.ndarray, white: tuple[float, float, float]) -> np.ndarray:
    """Return hematoxylin and DAB amounts (h, w, 2) by least squares."""
    density = -np.log10(np.maximum(image.astype(float), 0.5) / np.array(white))
    return density @ np.linalg.pinv(REFERENCE)


def ray_peaks(dab: np.ndarray, phantom: Phantom, reach_um: float = 6.0) -> np.ndarray:
    """Return the strongest DAB on each of 32 rays, from 2 um to `reach_um`, of every tumour cell, (n, 32)."""
    angle = np.arange(32) * np.pi / 16
    reach = np.arange(2.0, reach_um, 0.2)
    x = phantom.cells.xy_um[:, 0, None, None] + reach * np.cos(angle)[:, None]
    y = phantom.cells.xy_um[:, 1, None, None] + reach * np.sin(angle)[:, None]
    column = np.clip((x / phantom.options.mpp_x).astype(int), 0, dab.shape[1] - 1)
    row = np.clip((y / phantom.options.mpp_y).astype(int), 0, dab.shape[0] - 1)
    return dab[row, column].max(axis=2)


@pytest.fixture(scope="module")
def whole(small_phantom: Phantom) -> np.ndarray:
    """Return the whole small phantom as IHC."""
    return small_phantom.render_block(Box(0, 0, small_phantom.options.width, small_phantom.options.height))


@pytest.mark.parametrize("box", [Box(0, 0, 300, 217), Box(431, 377, 333, 401), Box(1007, 713, 300, 300)])
@pytest.mark.parametrize("stain", ["ihc", "he"])
def test_any_cut_of_a_fresh_phantom_shows_the_same_pixels(
    small_phantom: Phantom, small_options: PhantomOptions, box: Box, stain: str
) -> None:
    fresh = make_phantom(small_options)
    whole = small_phantom.render_block(Box(0, 0, 1907, 1413), stain)
    part = fresh.render_block(box, stain)
    np.testing.assert_array_equal(part, whole[box.y : box.bottom, box.x : box.right])


def test_no_seam_where_two_painted_chunks_meet(small_phantom: Phantom, whole: np.ndarray) -> None:
    across = Box(400, 420, 260, 190)
    painted = Chunk(small_phantom.scene, across.padded(12), "ihc").paint()[12:-12, 12:-12]
    difference = np.abs(painted.astype(int) - whole[across.y : across.bottom, across.x : across.right])
    assert difference.max() <= 8
    assert difference.mean() < 0.02


def test_another_seed_gives_other_tissue(small_phantom: Phantom, small_options: PhantomOptions) -> None:
    other = make_phantom(small_options.model_copy(update={"seed": 4}))
    assert not np.array_equal(other.cells.xy_um[:50], small_phantom.cells.xy_um[:50])


def test_stain_and_mix_leave_the_tissue_where_it_is(small_phantom: Phantom, small_options: PhantomOptions) -> None:
    plain = make_phantom(small_options.model_copy(update={"mix": {"0": 1.0}, "stain": "he"}))
    moved = np.linalg.norm(plain.cells.xy_um - small_phantom.cells.xy_um, axis=1)
    assert moved.max() < 1e-9


def test_truth_repeats_the_cells(small_phantom: Phantom) -> None:
    truth = json.loads(json.dumps(small_phantom.truth()))
    cells = truth["cells"]
    n = truth["tumour_cells"]
    assert n == len(cells["x_l0"]) == len(small_phantom.cells.classes)
    assert n > 150
    assert {name: cells["class"].count(name) for name in CLASSES} == truth["counts"]
    assert truth["shares"] == {
        report: pytest.approx(100 * truth["counts"][name] / n, abs=1e-3)
        for report, name in {"0": "0", "1+": "1", "2+": "2", "2i": "2i", "3+": "3"}.items()
    }
    for report, percent in {"0": 30, "1+": 20, "2+": 20, "2i": 5, "3+": 25}.items():
        assert abs(truth["shares"][report] - percent) <= 100 / n
    expected = truth["shares"]["1+"] + 2 * (truth["shares"]["2+"] + truth["shares"]["2i"]) + 3 * truth["shares"]["3+"]
    assert truth["h_score"] == pytest.approx(expected, abs=0.01)
    np.testing.assert_allclose(np.array(cells["x_l0"]) * 0.27, cells["x_um"], atol=0.02)
    np.testing.assert_allclose(np.array(cells["y_l0"]) * 0.25, cells["y_um"], atol=0.02)


def test_nuclei_are_apart_inside_nests_and_of_the_promised_shape(small_phantom: Phantom) -> None:
    nuclei, layout = small_phantom.scene.nuclei, small_phantom.layout
    distance = cKDTree(nuclei.xy).query(nuclei.xy, k=2)[0][:, 1]
    assert distance.min() > 4.0
    tumour = nuclei.kind == KINDS.index("tumour")
    depth = layout.sample(layout.nest, nuclei.xy[tumour, 0], nuclei.xy[tumour, 1])
    assert (depth > nuclei.b[tumour] * 0.8).all()
    spindle = nuclei.kind == KINDS.index("fibroblast")
    assert spindle.sum() > 10
    assert (nuclei.a[spindle] / nuclei.b[spindle]).min() > 2.5
    assert (2 * np.sqrt(nuclei.a * nuclei.b)[tumour]).min() > 3.5
    assert 5.5 < float(np.median(2 * np.sqrt(nuclei.a * nuclei.b)[tumour])) < 8


def test_hematoxylin_is_where_the_nuclei_are(small_phantom: Phantom, whole: np.ndarray) -> None:
    hematoxylin = unmixed(whole, (244.0, 243.0, 240.0))[..., 0]
    xy = small_phantom.cells.xy_um / np.array([0.27, 0.25])
    at = hematoxylin[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    assert np.quantile(at, 0.02) > 0.13
    assert float(np.median(at)) > 2 * float(np.median(hematoxylin))


def test_membranes_show_the_class_that_the_truth_names(small_phantom: Phantom, whole: np.ndarray) -> None:
    dab = unmixed(whole, (244.0, 243.0, 240.0))[..., 1]
    peaks = ray_peaks(dab, small_phantom)
    classes = small_phantom.cells.classes
    median = {name: float(np.median(peaks[classes == k])) for k, name in enumerate(CLASSES)}
    assert median["0"] < 0.14
    assert median["1"] < 0.25
    assert 0.35 < median["2"] < 0.65
    assert 0.85 < median["3"] < 1.5
    stained = (ray_peaks(dab, small_phantom, 8.6) > 0.6).mean(axis=1)
    assert np.quantile(stained[classes == CLASSES.index("3")], 0.1) > 0.9


def test_an_unstained_phantom_has_no_membrane_signal(small_options: PhantomOptions) -> None:
    phantom = make_phantom(small_options.model_copy(update={"mix": {"0": 1.0}}))
    dab = unmixed(phantom.render_block(Box(0, 0, 1907, 1413)), (244.0, 243.0, 240.0))[..., 1]
    assert float(np.quantile(ray_peaks(dab, phantom), 0.95)) < 0.14


def test_nuclear_dab_stays_in_the_nuclei(small_options: PhantomOptions) -> None:
    staining = StainOptions(nuclear_dab_share=1.0, nuclear_dab_od=(0.6, 0.8))
    phantom = make_phantom(small_options.model_copy(update={"mix": {"0": 1.0}, "staining": staining}))
    dab = unmixed(phantom.render_block(Box(0, 0, 1907, 1413)), (244.0, 243.0, 240.0))[..., 1]
    xy = phantom.cells.xy_um / np.array([0.27, 0.25])
    at = dab[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    assert 0.5 < float(np.median(at)) < 0.9
    assert phantom.truth()["shares"]["0"] == 100.0


def test_flat_patch_has_the_density_of_beer_and_lambert() -> None:
    options = PhantomOptions(optics=OpticsOptions(shot_noise=0.0, illumination=0.0))
    flat = [np.full((40, 50), amount, dtype=np.float32) for amount in (0.40, 0.60)]
    image = Optics.of(options).expose([(flat[0], (0.65, 0.70, 0.29)), (flat[1], (0.27, 0.57, 0.78))], (7, 9))
    density = -np.log10(image[20, 25].astype(float) / np.array(options.optics.white))
    expected = 0.40 * np.array((0.65, 0.70, 0.29)) + 0.60 * np.array((0.27, 0.57, 0.78))
    np.testing.assert_allclose(density, expected, atol=0.005)


def test_bare_glass_is_white(whole: np.ndarray) -> None:
    np.testing.assert_allclose(whole[:40, :40].reshape(-1, 3).mean(axis=0), (244, 243, 240), atol=3)


def test_island_lies_where_it_was_put(small_options: PhantomOptions) -> None:
    island = Island(x_um=95.0, y_um=110.0, share=0.15)
    options = small_options.model_copy(update={"mix": {"0": 1.0}, "island": island})
    phantom = make_phantom(options)
    truth = phantom.truth()
    assert truth["shares"]["3+"] == pytest.approx(15, abs=100 / truth["tumour_cells"])
    away = np.hypot(phantom.cells.xy_um[:, 0] - 95, phantom.cells.xy_um[:, 1] - 110)
    strong = phantom.cells.classes == CLASSES.index("3")
    assert away[strong].max() < truth["island"]["radius_um"] + 2.5
    dab = unmixed(phantom.render_block(Box(0, 0, 1907, 1413)), (244.0, 243.0, 240.0))[..., 1]
    rows, columns = np.nonzero(dab > 0.5)
    reach = np.hypot((columns + 0.5) * 0.27 - 95, (rows + 0.5) * 0.25 - 110)
    assert np.quantile(reach, 0.98) < truth["island"]["radius_um"] + 9


def test_pieces_and_control_core_are_reported_apart(small_options: PhantomOptions) -> None:
    tissue = TissueOptions(pieces=2, control_core=True, fat=False, necrosis=False)
    options = small_options.model_copy(update={"width": 3001, "mix": {"0": 1.0}, "tissue": tissue})
    truth = make_phantom(options).truth()
    assert [piece["kind"] for piece in truth["pieces"]] == ["tumour", "tumour", "control"]
    assert truth["pieces"][2]["shares"]["3+"] == 100.0
    assert truth["shares"]["0"] == 100.0
    assert truth["tumour_cells"] == sum(piece["tumour_cells"] for piece in truth["pieces"][:2])
    assert truth["cells"]["scored"].count(False) == truth["pieces"][2]["tumour_cells"] > 20


def test_waves_agree_on_points_and_grids() -> None:
    waves = Waves.random(np.random.default_rng(5), 7, (9.0, 50.0), 1.5)
    x, y = np.linspace(-3, 88, 31), np.linspace(11, 47, 17)
    grid = waves.grid(x, y)
    points = waves.at(np.repeat(x[None], 17, axis=0).ravel(), np.repeat(y, 31)).reshape(17, 31)
    np.testing.assert_allclose(grid, points, atol=1e-5)


@pytest.mark.parametrize(("seed", "target"), [(21, "1+"), (22, "3+"), (23, "9% 3+")])
def test_random_phantoms_keep_every_cell_on_the_slide(seed: int, target: str) -> None:
    phantom = make_phantom(random_options(seed, target))
    xy, options = phantom.cells.xy_um, phantom.options
    assert len(xy) > 200
    assert xy.min() > 5
    assert xy[:, 0].max() < options.width_um - 5
    assert xy[:, 1].max() < options.height_um - 5
    assert options.optics.white == ((244.0, 243.0, 240.0) if seed % 2 == 0 else (232.0, 236.0, 229.0))
