"""Changes to pixels that keep the class."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_pipeline.stain.density import StainVectors, unmix
from wsi_pipeline.training.data.augment import (
    DAB,
    HEMATOXYLIN,
    WHITE,
    AugmentOptions,
    changed,
    recoloured,
    stain_change,
    turned,
)

NOTHING = np.zeros(3)
STILL = np.zeros((2, 3))


def stained(hematoxylin: float, dab: float) -> np.ndarray:
    """Return a (7, 9, 3) image of even stain amounts, OD, against 255."""
    unit = [np.array(vector) / np.linalg.norm(vector) for vector in (HEMATOXYLIN, DAB)]
    density = hematoxylin * unit[0] + dab * unit[1]
    return np.tile(np.round(255 * 10**-density).astype(np.uint8), (7, 9, 1))


@pytest.mark.parametrize(("gains", "wanted"), [((1.3, 1.0), (0.39, 0.5)), ((1.0, 0.8), (0.3, 0.4))])
def test_each_stain_is_scaled_by_itself(gains, wanted) -> None:
    image = recoloured(stained(0.3, 0.5), stain_change((HEMATOXYLIN, DAB), gains, STILL), NOTHING)
    found = unmix(image, WHITE, StainVectors())
    assert (found.hematoxylin.mean(), found.dab.mean()) == pytest.approx(wanted, abs=0.01)


def test_what_no_stain_explains_stays() -> None:
    rest = np.cross(HEMATOXYLIN, DAB)
    matrix = stain_change((HEMATOXYLIN, DAB), (2.0, 0.5), STILL + 0.02)
    assert matrix @ rest == pytest.approx(rest)


def test_nothing_asked_changes_nothing() -> None:
    image = np.random.default_rng(1).integers(1, 256, (31, 17, 3), dtype=np.uint8)
    same = recoloured(image, stain_change((HEMATOXYLIN, DAB), (1.0, 1.0), STILL), NOTHING)
    assert np.abs(same.astype(int) - image).max() <= 1
    still = AugmentOptions(
        hematoxylin_gain=(1, 1), dab_gain=(1, 1), vector_shift=0, light_od=0, tint_od=0,
        blur_share=0, noise_share=0, jpeg_share=0,
    )  # fmt: skip
    assert np.abs(changed(image, DAB, (1, 1), np.random.default_rng(0), still).astype(int) - image).max() <= 1


def test_dab_keeps_its_class_under_every_draw() -> None:
    """Membranes of 0.25 and 0.35 OD (faint, moderate) keep apart; light, which moves glass alike, is left out."""
    options = AugmentOptions(light_od=0, tint_od=0, blur_share=0, noise_share=0, jpeg_share=0)
    found = []
    for amount in (0.25, 0.35):
        image, rng = stained(0.1, amount), np.random.default_rng(5)
        draws = [changed(image, DAB, options.dab_gain, rng, options) for _ in range(200)]
        found.append([float(unmix(draw, WHITE, StainVectors()).dab.mean()) for draw in draws])
    assert max(found[0]) < min(found[1])
    assert np.ptp(found[0]) > 0.02


def test_the_eight_turns_differ_and_keep_the_pixels() -> None:
    image = np.random.default_rng(2).integers(0, 256, (13, 13, 3), dtype=np.uint8)
    seen = {turned(image, turn).tobytes() for turn in range(8)}
    assert len(seen) == 8
    assert all(np.array_equal(np.sort(turned(image, k), axis=None), np.sort(image, axis=None)) for k in range(8))
