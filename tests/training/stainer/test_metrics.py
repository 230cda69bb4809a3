"""Measures and baselines, against answers known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")

from tests.training.stainer import tiny_pairs  # noqa: E402
from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.training.stainer.baselines import LinearStain  # noqa: E402
from wsi_pipeline.training.stainer.metrics import StainScores, divergence, pearson, psnr, tile_dab  # noqa: E402
from wsi_pipeline.training.stainer.pairs import Pair, pairs, spread  # noqa: E402

SOURCE = tiny_pairs.Blobs(8, 5)


def test_the_real_image_scores_best() -> None:
    scores = StainScores(16, lambda rgb: int(rgb.mean() < 180))
    for pair in pairs(SOURCE, range(8)):
        scores.add(pair.ihc, pair)
    found = scores.result()
    assert found["ssim"] == pytest.approx(1)
    assert found["psnr"] == 100
    assert found["dab_pearson"] == pytest.approx(1)
    assert found["dab_kl"] == 0
    assert found["label_agreement"] == 1
    assert 0 <= found["label_accuracy"] < 1


def test_without_a_classifier_labels_are_not_judged() -> None:
    scores = StainScores(16)
    pair = next(pairs(SOURCE, [1]))
    scores.add(pair.he, pair)
    assert math.isnan(scores.result()["label_accuracy"])


def test_an_unknown_label_and_a_small_image_are_left_out() -> None:
    pair = next(pairs(SOURCE, [2]))
    scores = StainScores(16, lambda _rgb: 2)
    scores.add(pair.he, pair._replace(label=-1))
    assert math.isnan(scores.result()["label_accuracy"])
    assert scores.result()["label_agreement"] == 1
    nobody = StainScores(16, lambda _rgb: None)
    nobody.add(pair.he, pair)
    assert math.isnan(nobody.result()["label_agreement"])


def test_psnr_of_a_known_difference() -> None:
    image = np.full((6, 9, 3), 100, np.uint8)
    assert psnr(image, image + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))


def test_tiles_are_whole_ones() -> None:
    rgb = np.full((37, 50, 3), 255, np.uint8)
    rgb[:16, 16:32] = (120, 80, 60)
    found = tile_dab(rgb, 16)
    assert len(found) == 2 * 3
    assert [value > 0.1 for value in found] == [False, True, False, False, False, False]
    assert len(tile_dab(rgb[:9], 16)) == 1


def test_divergence_and_correlation() -> None:
    low, high = np.full(40, 0.02), np.full(40, 0.42)
    shares = np.array([40.5, *[0.5] * 19]) / 50
    wanted = float(np.sum(shares * np.log(shares / np.roll(shares, 8))))
    assert divergence(low, high) == pytest.approx(wanted)
    assert divergence(low, low) == 0
    assert math.isnan(pearson(low, high))
    assert pearson(np.array([1.0, 2, 4]), np.array([-2.0, -4, -8])) == pytest.approx(-1)


def test_linear_transfer_finds_a_linear_law() -> None:
    rng = np.random.default_rng(4)
    law = np.array([[0.8, 0.1, 0.0], [0.1, 0.5, 0.2], [0.0, 0.2, 0.6], [0.05, 0.02, 0.1]])
    he = rng.integers(60, 240, (21, 34, 3), dtype=np.uint8)
    od = np.column_stack([-np.log10(he.reshape(-1, 3) / 255), np.ones(21 * 34)]) @ law
    ihc = np.rint(255 * 10**-od).astype(np.uint8).reshape(he.shape)
    stain = LinearStain.fit([Pair(he, ihc, -1, "a")])
    np.testing.assert_allclose(stain.matrix, law, atol=0.01)
    assert np.abs(stain(he).astype(int) - ihc).max() <= 1


def test_linear_transfer_needs_pairs() -> None:
    with pytest.raises(UsageError, match="no training pair"):
        LinearStain.fit([])


def test_pairs_are_cut_to_what_the_generator_takes() -> None:
    pair = next(pairs(SOURCE, [3]))
    assert pair.he.shape == pair.ihc.shape == (44, 52, 3)
    assert spread(8, 3) == [0, 3, 7]
    assert spread(2, 9) == [0, 1]
    with pytest.raises(UsageError, match=r"slide-1: sample 1 has no H&E"):
        list(pairs(tiny_pairs.Blobs(4, 1, he=False), [1]))
