"""Which phantoms are drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.geometry import Box
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.scoring.rule import RuleOptions, Shares, apply_rule
from wsi_pipeline.training.data.domain import HELD_OUT, TRAINING, draw_mix, draw_partner, draw_phantom
from wsi_pipeline.training.data.phantoms import PhantomTileOptions
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom
from wsi_pipeline.training.phantom.options import StainOptions, TissueOptions

SIDE_PX = 430
SEED = 40
"""A tissue with 88 tumour cells."""


@given(st.integers(0, 3), st.integers(0, 2**40))
def test_a_mix_means_its_label(label: int, seed: int) -> None:
    mix = {name: 100 * share for name, share in draw_mix(label, np.random.default_rng(seed)).items()}
    assert sum(mix.values()) == pytest.approx(100)
    assert min(mix.values()) >= 0
    shares = Shares(*(mix.get(name, 0.0) for name in ("0", "1", "2i", "2", "3")))
    assert apply_rule(shares, RuleOptions()).score == HER2_CLASSES[label]


def test_nothing_but_the_mix_depends_on_the_label() -> None:
    drawn = [draw_phantom(label, 77, TRAINING, SIDE_PX) for label in range(4)]
    same = {options.model_copy(update={"mix": {}, "arrangement": "mixed"}).model_dump_json() for options in drawn}
    assert len(same) == 1


def test_faint_membranes_stay_paler_than_moderate_ones_in_every_laboratory() -> None:
    drawn = [draw_phantom(2, seed, TRAINING, SIDE_PX).looks for seed in range(300)]
    assert max(looks["1"].od[1] for looks in drawn) < min(looks["2"].od[0] for looks in drawn)
    tile = PhantomTileOptions().augment.dab_gain
    assert TRAINING.dab_gain[1] / TRAINING.dab_gain[0] * tile[1] / tile[0] < 0.35 / 0.25


def _directions(domain, stain: str) -> np.ndarray:
    staining: list[StainOptions] = [draw_phantom(0, seed, domain, SIDE_PX).staining for seed in range(400)]
    vectors = np.array([getattr(one, stain) for one in staining])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("stain", ["hematoxylin", "dab", "eosin"])
def test_held_out_stain_vectors_are_none_of_training(stain: str) -> None:
    train, held = _directions(TRAINING, stain), _directions(HELD_OUT, stain)
    apart = np.rad2deg(np.arccos(np.clip(held @ train.T, -1, 1)).min())
    assert apart > 1.5
    assert np.rad2deg(np.arccos(np.clip(train @ train.T, -1, 1)).max()) > 4, "training varies"


def test_held_out_glass_is_none_of_training() -> None:
    tints = [
        [np.ptp(draw_phantom(0, seed, domain, SIDE_PX).optics.white) for seed in range(200)]
        for domain in (TRAINING, HELD_OUT)
    ]
    assert max(tints[0]) < min(tints[1])


@pytest.fixture(scope="module")
def partners() -> list[np.ndarray]:
    """Return H&E and the IHC of four labels of one tissue."""
    whole = Box(0, 0, SIDE_PX, SIDE_PX)
    he = make_phantom(draw_partner(SEED, TRAINING, SIDE_PX)).render_block(whole, "he")
    ihc = [make_phantom(draw_phantom(label, SEED, TRAINING, SIDE_PX)).render_block(whole) for label in range(4)]
    return [he, *ihc]


def test_the_partner_shows_the_same_tissue(partners: list[np.ndarray]) -> None:
    he, ihc = (255.0 - image.min(axis=2) for image in partners[:2])
    assert np.corrcoef(he.ravel(), ihc.ravel())[0, 1] > 0.6


def test_labels_look_different_only_in_ihc(partners: list[np.ndarray]) -> None:
    assert all(not np.array_equal(one, other) for one, other in itertools.combinations(partners[1:], 2))
    assert set(draw_partner(SEED, TRAINING, SIDE_PX).mix) == {"0"}, "the H&E is drawn without knowing the label"


def test_tissue_without_vessels_and_the_like_is_painted() -> None:
    bare = TissueOptions(fat=False, vessels=False, necrosis=False, lymphocytes=False)
    options = PhantomOptions(seed=4, width=301, height=251, mpp_x=0.5, mpp_y=0.48, tissue=bare)
    with np.errstate(invalid="raise"):
        image = make_phantom(options).render_block(Box(0, 0, 301, 251))
    assert image.min() > 0
    assert image.max() > 200
