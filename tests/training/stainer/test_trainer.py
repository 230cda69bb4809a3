"""Steps of the training: what is learnt, what is left out, and what chance is allowed to change."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")

from tests.training.stainer import tiny_pairs  # noqa: E402
from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402
from wsi_pipeline.training.loop.batches import Batch, stack  # noqa: E402
from wsi_pipeline.training.stainer.augment import augmented  # noqa: E402
from wsi_pipeline.training.stainer.options import JitterOptions, LossWeights, StainerOptions  # noqa: E402
from wsi_pipeline.training.stainer.trainer import StainerTrainer  # noqa: E402

STILL = JitterOptions(brightness=0, contrast=0, saturation=0)
NOTHING = dict.fromkeys(LossWeights().model_dump(), 0.0)


def batch(*, he: bool = True) -> Batch:
    return stack([tiny_pairs.Blobs(8, 3, he=he).sample(index, 0) for index in (1, 3)])


def seen(jitter: JitterOptions = STILL, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return augmented(batch(), 32, jitter, np.random.default_rng(seed))


def trained(
    steps: int, options: StainerOptions = tiny_pairs.OPTIONS, precision: str = "fp32"
) -> list[dict[str, float]]:
    trainer = StainerTrainer(options, Runtime("cpu", precision))
    return [trainer.step(*seen(), step, 1.0) for step in range(steps)]


def test_it_learns_a_pair_by_heart() -> None:
    losses = trained(40)
    for part in ("pyramid", "ms_ssim", "nce"):
        assert np.mean([row[part] for row in losses[-4:]]) < 0.7 * losses[0][part]


def test_the_total_is_the_weighted_sum() -> None:
    row, weights = trained(1)[0], tiny_pairs.OPTIONS.losses.model_dump()
    assert row["total"] == pytest.approx(sum(weight * row[name] for name, weight in weights.items()), rel=1e-5)


@pytest.mark.parametrize("part", sorted(NOTHING))
def test_every_part_works_alone(part: str) -> None:
    options = tiny_pairs.OPTIONS.model_copy(update={"losses": LossWeights(**(NOTHING | {part: 1.0}))})
    critic = {"adversarial": ["discriminator"], "ctpc": ["segmenter"]}.get(part, [])
    rows = trained(2, options)
    assert list(rows[0]) == ["total", part, *critic]
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_an_objective_without_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight"):
        StainerOptions(losses=LossWeights(**NOTHING))


def test_equal_seeds_give_equal_losses_and_others_do_not() -> None:
    assert trained(3) == trained(3)
    assert trained(1) != trained(1, tiny_pairs.OPTIONS.model_copy(update={"seed": 8}))


def test_half_precision_stays_near() -> None:
    exact, coarse = trained(2), trained(2, precision="bf16")
    for name, value in exact[0].items():
        assert coarse[0][name] == pytest.approx(value, rel=0.1, abs=0.02)


def test_the_published_generator_trains() -> None:
    options = tiny_pairs.OPTIONS.model_copy(update={"architecture": "pspstain"})
    rows = trained(2, options)
    assert np.isfinite(list(rows[1].values())).all()


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    trainer = StainerTrainer(tiny_pairs.OPTIONS, Runtime())
    he, ihc = seen()
    with pytest.raises(UsageError, match="no longer a finite number"):
        trainer.step(torch.full_like(he, float("nan")), ihc, 0, 1.0)


def test_pairs_stay_pairs_and_only_he_is_jittered() -> None:
    he, ihc = seen()
    jittered, target = seen(JitterOptions())
    assert he.shape == ihc.shape == (2, 3, 32, 32)
    assert torch.equal(ihc, target)
    assert float((he - jittered).abs().mean()) > 0.02
    assert jittered.min() >= -1
    assert jittered.max() <= 1
    darkness = [np.corrcoef(-he[k].mean(0).ravel(), -ihc[k].mean(0).ravel())[0, 1] for k in range(2)]
    assert min(darkness) > 0.9, "cells lie at the same places in both"
    assert not torch.equal(seen(seed=1)[1], ihc)


def test_samples_that_cannot_be_used_are_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"slide-0, slide-1: has a sample without H&E"):
        augmented(batch(he=False), 32, STILL, rng)
    with pytest.raises(UsageError, match=r"slide-1: 53 x 44 px is smaller than the crop of 48 px"):
        augmented(batch(), 48, STILL, rng)
