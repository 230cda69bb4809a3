"""Where the outline of tissue lies: on its edge, whatever lies on the glass beside it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from wsi_pipeline.geometry import Mpp
from wsi_pipeline.tissue.mask import Tissue, TissueOptions, find_tissue

SHAPE = (211, 307)
MPP = Mpp(8.0, 7.6)
WHITE = (242.0, 240.0, 237.0)
BLUE = np.array([0.72, 0.55, 0.30])
BROWN = np.array([0.27, 0.57, 0.78])


class Glass:
    """An overview in optical density with one wavy piece of tissue of known extent on it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(23)
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
        angle = np.arctan2(rows - 100, columns - 140)
        self.extent = np.hypot((columns - 140) / 1.5, rows - 100) < 60 + 9 * np.cos(3 * angle) + 4 * np.sin(7 * angle)
        self.density = np.zeros((*SHAPE, 3))

    def stain(self, where: np.ndarray, vector: np.ndarray, od: float) -> Glass:
        """Add speckled tissue of mean density about `od`."""
        self.density += (where * self.rng.random(SHAPE) * 2 * od)[..., None] * vector
        return self

    def find(self) -> Tissue:
        """Return what is found in the overview."""
        picture = np.array(WHITE) * 10**-self.density + self.rng.normal(0, 0.5, (*SHAPE, 3))
        rgb = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return find_tissue(rgb, np.ones(SHAPE, bool), MPP, WHITE, TissueOptions())


def _distances_um(found: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return how far each px of the outline of `found` lies from the edge of `extent`, um; above 0 outside."""
    inside, outside = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (extent, ~extent))
    rim = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return np.where(extent, 1 - inside, outside)[rim & found] * MPP.x  # 0 where the last px of both is the same


def _assert_drawn(found: Tissue, extent: np.ndarray) -> None:
    assert found.mask.sum() == pytest.approx(extent.sum(), rel=0.06)
    away = _distances_um(found.mask, extent)
    assert np.abs(away).mean() < 7
    assert np.percentile(np.abs(away), 95) < 15


@pytest.mark.parametrize(("vector", "od"), [(BLUE, 0.03), (BLUE, 0.2), (BROWN, 0.04), (BROWN, 0.5)])
def test_the_outline_lies_on_the_edge_of_tissue_of_any_strength(vector: np.ndarray, od: float) -> None:
    glass = Glass()
    _assert_drawn(glass.stain(glass.extent, vector, od).find(), glass.extent)


def test_shaded_glass_is_no_tissue_and_pale_tissue_on_it_is() -> None:
    glass = Glass()
    glass.stain(glass.extent, BLUE, 0.05)
    glass.density += np.linspace(0, 0.011, SHAPE[1])[None, :, None]
    _assert_drawn(glass.find(), glass.extent)


@pytest.mark.parametrize("tile", [32, 64])
def test_padding_moves_no_outline(tile: int) -> None:
    """A slide that is filled up with white to whole tiles ends where it ends without."""
    glass = Glass()
    picture = np.array(WHITE) * 10 ** -glass.stain(glass.extent, BLUE, 0.05).density
    cut = np.rint(picture + glass.rng.normal(0, 0.5, picture.shape)).astype(np.uint8)[:, :258]
    down, right = -cut.shape[0] % tile, -cut.shape[1] % tile
    padded = cv2.copyMakeBorder(cut, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    plain, filled = (
        find_tissue(rgb, np.ones(rgb.shape[:2], bool), MPP, WHITE, TissueOptions()).mask for rgb in (cut, padded)
    )
    shared = filled[: cut.shape[0], : cut.shape[1]]
    assert not filled[cut.shape[0] :].any()
    assert not filled[:, cut.shape[1] :].any()
    assert (shared != plain).sum() <= 0.01 * plain.sum()


@pytest.mark.parametrize("px_away", [4, 6, 8, 12])
def test_dust_beside_the_tissue_does_not_bulge_its_outline(px_away: int) -> None:
    glass = Glass()
    glass.stain(glass.extent, BLUE, 0.15)
    away = cv2.distanceTransform((~glass.extent).astype(np.uint8), cv2.DIST_L2, 5)
    rows, columns = np.nonzero(np.abs(away - px_away) < 0.5)
    for row, column in zip(rows[::40], columns[::40], strict=True):
        glass.density[row : row + 2, column : column + 1] += 0.4
    found = glass.find()
    _assert_drawn(found, glass.extent)
    assert _distances_um(found.mask, glass.extent).max() < 4 * MPP.x


def test_a_narrow_cleft_is_tissue_and_a_wide_bay_is_glass() -> None:
    glass = Glass()
    cleft, bay = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    cleft[:80, 120:124], bay[110:, 135:160] = True, True
    found = glass.stain(glass.extent & ~cleft & ~bay, BLUE, 0.15).find()
    assert found.mask[70, 121]
    assert found.mask[60:200][bay[60:200] & glass.extent[60:200]].mean() < 0.15
    assert len(found.pieces) == 1


def test_what_is_no_glass_outside_the_coarse_mask_keeps_the_mask() -> None:
    """Pale tissue all around, which the coarse mask leaves out, is no glass to cut the mask back to."""
    glass = Glass()
    glass.stain(np.ones(SHAPE, bool), BLUE, 0.006).stain(glass.extent, BLUE, 0.05)
    found = glass.find()
    assert (found.mask & glass.extent).sum() > 0.99 * glass.extent.sum()


def test_tissue_beyond_the_edge_of_the_picture_is_not_cut_at_it() -> None:
    glass = Glass()
    right = np.zeros(SHAPE, bool)
    right[:, 150:] = True
    found = glass.stain(right, BROWN, 0.2).find()
    assert found.mask[:, 153:].all()
    assert not found.mask[:, :148].any()
