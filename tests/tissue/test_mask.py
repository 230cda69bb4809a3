"""Tissue, ink, coverslip edges and what was never scanned, on made overviews with a known answer."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsi_pipeline.geometry import Box, Mpp
from wsi_pipeline.tissue.mask import Tissue, TissueOptions, find_tissue

SHAPE = (389, 613)
MPP = Mpp(8.0, 8.6)
WHITE = (241.0, 239.0, 236.0)
BLUE = np.array([0.72, 0.55, 0.30])
BROWN = np.array([0.27, 0.57, 0.78])
PINK = np.array([0.20, 0.90, 0.35])
MAIN = np.s_[60:260, 90:330]
SMALL = np.s_[290:350, 400:520]


class Overview:
    """An overview in optical density, to which things are added; shapes are boxes, so that areas are known."""

    def __init__(self, glass_noise: float = 0.8) -> None:
        self.rng = np.random.default_rng(11)
        self.density = np.zeros((*SHAPE, 3))
        self.noise = glass_noise
        self.valid = np.ones(SHAPE, dtype=bool)

    def tissue(self, where: tuple[slice, slice], vector: np.ndarray, od: float) -> Overview:
        """Add speckled tissue of mean density about `od`."""
        part = self.density[where]
        part += (self.rng.random(part.shape[:2]) * 2 * od)[..., None] * vector
        return self

    def flat(self, where: tuple[slice, slice] | np.ndarray, colour: tuple[int, int, int]) -> Overview:
        """Cover with one flat `colour` (RGB), like ink."""
        self.density[where] = -np.log10(np.array(colour) / np.array(WHITE))
        return self

    @property
    def rgb(self) -> np.ndarray:
        """The overview, (H, W, 3) uint8."""
        picture = np.array(WHITE) * 10**-self.density + self.rng.normal(0, self.noise, self.density.shape)
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def find(self, mpp: Mpp = MPP) -> Tissue:
        """Return what is found in the overview."""
        return find_tissue(self.rgb, self.valid, mpp, WHITE, TissueOptions())


def _box(where: tuple[slice, slice]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[where] = True
    return mask


def _rim(mask: np.ndarray, px: int = 9) -> np.ndarray:
    """Return the outline of `mask`, widened by `px` both ways: what the smoothing may decide either way."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2 * px + 1, 2 * px + 1))) > 0


def _assert_is(found: Tissue, expected: np.ndarray) -> None:
    certain = ~_rim(expected)
    np.testing.assert_array_equal(found.mask & certain, expected & certain)


@pytest.mark.parametrize(
    ("vector", "od"), [(BLUE, 0.02), (BLUE, 0.2), (BROWN, 0.03), (BROWN, 0.5), (PINK, 0.05), (PINK, 0.3)]
)
def test_tissue_of_any_stain_and_strength_is_found(vector: np.ndarray, od: float) -> None:
    found = Overview().tissue(MAIN, vector, od).find()
    _assert_is(found, _box(MAIN))
    assert not found.pen.any()
    assert found.reasons == ()


def test_grey_glass_is_glass() -> None:
    overview = Overview().tissue(MAIN, BLUE, 0.1)
    grey = (177.0, 178.0, 174.0)
    picture = np.clip(overview.rgb * (np.array(grey) / np.array(WHITE)), 0, 255).astype(np.uint8)
    _assert_is(find_tissue(picture, overview.valid, MPP, grey, TissueOptions()), _box(MAIN))


def test_noisy_glass_and_a_smooth_smear_are_not_tissue() -> None:
    overview = Overview(glass_noise=2.0).tissue(MAIN, BLUE, 0.1)
    height = np.exp(-(((np.arange(SHAPE[0]) - 330.0) / 14.0) ** 2))
    overview.density += 0.03 * height[:, None, None] * BROWN
    _assert_is(overview.find(), _box(MAIN))


def test_pieces_are_numbered_by_area_and_measured() -> None:
    found = Overview().tissue(SMALL, BROWN, 0.2).tissue(MAIN, BLUE, 0.2).find()
    first, second = found.pieces
    assert (first.number, second.number) == (1, 2)
    assert first.area_mm2 == pytest.approx(200 * 240 * MPP.x * MPP.y / 1e6, rel=0.1)
    assert found.area_mm2 == pytest.approx(first.area_mm2 + second.area_mm2)
    assert first.centroid_mask == pytest.approx((209.5, 159.5), abs=2)
    assert second.bbox_mask.intersection(Box(400, 290, 120, 60)).area == 120 * 60
    assert found.labels[320, 450] == 2
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.labels > 0, found.mask)


def test_dust_is_too_small_to_be_a_piece() -> None:
    found = Overview().tissue(MAIN, BLUE, 0.2).tissue(np.s_[20:26, 500:507], BLUE, 0.4).find()
    assert len(found.pieces) == 1


def test_a_single_small_field_is_tissue_all_the_same() -> None:
    rgb = Overview().tissue(np.s_[:, :], BROWN, 0.2).rgb
    found = find_tissue(rgb, np.ones(SHAPE, bool), Mpp(0.25, 0.26), WHITE, TissueOptions())
    assert found.area_mm2 == pytest.approx(389 * 613 * 0.25 * 0.26 / 1e6, rel=0.02)


@pytest.mark.parametrize(
    ("ink", "colour"),
    [("red", (205, 25, 55)), ("green", (20, 150, 120)), ("blue", (25, 50, 185)), ("black", (28, 25, 22))],
)
def test_ink_is_not_tissue(ink: str, colour: tuple[int, int, int]) -> None:
    stroke = np.s_[30:360, 420:445]
    found = Overview().tissue(MAIN, BLUE, 0.2).flat(stroke, colour).find()
    _assert_is(found, _box(MAIN))
    assert found.pen[stroke].all(), ink
    assert not found.pen[MAIN].any()
    assert any("pen marks" in reason for reason in found.reasons)


def test_ink_over_tissue_is_cut_out_of_it() -> None:
    found = Overview().tissue(MAIN, BLUE, 0.2).flat(np.s_[100:130, 60:400], (20, 150, 120)).find()
    assert not found.mask[100:130].any()
    assert found.mask[200, 200]
    assert not (found.mask & found.pen).any()


def test_tissue_with_a_spot_of_ink_colour_is_not_a_mark() -> None:
    overview = Overview().flat(MAIN, (215, 150, 175)).flat(np.s_[150:180, 200:230], (205, 60, 85))
    found = overview.find()
    assert not found.pen.any()
    _assert_is(found, _box(MAIN))


def test_intense_brown_is_not_black_ink() -> None:
    found = Overview().tissue(MAIN, BROWN, 1.0).find()
    assert not found.pen.any()
    _assert_is(found, _box(MAIN))


@pytest.mark.parametrize("upright", [False, True])
def test_a_coverslip_edge_and_the_dirt_beyond_it_are_left_out(upright: bool) -> None:
    overview = Overview().tissue(MAIN, BLUE, 0.2)
    grey = np.array([1.0, 1.0, 0.98])
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    if upright:
        line = np.abs(columns - (560 + 0.01 * rows)) < 1.5
        outside = np.s_[:, 575:]
    else:
        line = np.abs(rows - (30 + 0.01 * columns)) < 1.5
        outside = np.s_[:22, :]
    overview.density[line] += 0.25 * grey
    overview.tissue(outside, BROWN, 0.02)
    found = overview.find()
    _assert_is(found, _box(MAIN))
    assert any("coverslip edge" in reason for reason in found.reasons)


def test_clearly_stained_tissue_beyond_a_coverslip_edge_counts() -> None:
    overview = Overview().tissue(MAIN, BROWN, 0.4)
    overview.density[np.s_[68:71, :]] += 0.25
    assert overview.find().mask[MAIN].mean() > 0.9


def test_a_grey_shadow_is_not_tissue() -> None:
    overview = Overview().tissue(MAIN, BLUE, 0.2)
    overview.density += (0.2 * np.exp(-np.arange(SHAPE[0]) / 6.0))[:, None, None]
    _assert_is(overview.find(), _box(MAIN))


def test_what_was_never_scanned_is_not_tissue_whatever_its_colour() -> None:
    overview = Overview().tissue(MAIN, BLUE, 0.2).flat(np.s_[:, 480:], (1, 1, 1))
    overview.tissue(np.s_[:, 480:], PINK, 0.2)
    overview.valid[:, 480:] = False
    found = overview.find()
    _assert_is(found, _box(MAIN))
    assert not found.pen.any()
    assert any("never scanned" in reason for reason in found.reasons)


def test_small_holes_are_filled_and_large_ones_stay_open() -> None:
    overview = Overview().tissue(MAIN, BLUE, 0.2)
    overview.density[80:92, 110:122] = 0
    overview.density[150:230, 180:280] = 0
    found = overview.find()
    assert found.mask[86, 116]
    assert not found.mask[190, 230]


def test_a_small_corner_of_glass_is_no_hole() -> None:
    overview = Overview().tissue(np.s_[:, :], BLUE, 0.2)
    overview.density[-20:, -15:] = 0
    assert not overview.find().mask[-6:, -5:].any()


def test_an_empty_slide_says_why() -> None:
    found = Overview().find()
    assert found.area_mm2 == 0
    assert found.pieces == []
    assert "no tissue" in found.reasons[-1]


def test_a_finer_overview_gives_the_same_tissue() -> None:
    overview = Overview(glass_noise=0.3).tissue(MAIN, BLUE, 0.2).flat(np.s_[30:360, 420:445], (205, 25, 55))
    fine = cv2.resize(overview.rgb, (SHAPE[1] * 4 + 2, SHAPE[0] * 4 + 1), interpolation=cv2.INTER_LINEAR)
    found = find_tissue(fine, np.ones(fine.shape[:2], bool), MPP.scaled(0.25), WHITE, TissueOptions())
    coarse = overview.find()
    assert found.mask.shape == fine.shape[:2]
    assert found.area_mm2 == pytest.approx(coarse.area_mm2, rel=0.05)
    assert found.pen.mean() == pytest.approx(coarse.pen.mean(), rel=0.1)
