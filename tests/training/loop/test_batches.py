"""Order and batches: seeded, balanced, complete, and the same whoever reads them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.training.data.records import Sample  # noqa: E402
from wsi_pipeline.training.loop.batches import (  # noqa: E402
    REPEAT_STRIDE,
    KeptBatches,
    Loader,
    balanced_draws,
    in_batches,
    labels_of,
    plain_draws,
    stack,
)

LABELS = np.array([0] * 12 + [1] * 3 + [2] * 7 + [3] * 2)


class Numbers:
    """Samples that tell which index and epoch they are; 5 x 3 px. Labels are only known with the pixels."""

    def __init__(self) -> None:
        self.read = 0

    def __len__(self) -> int:
        return len(LABELS)

    def sample(self, index: int, epoch: int) -> Sample:
        self.read += 1
        rgb = np.full((3, 5, 3), index, np.uint8)
        rgb[0, 0, 0] = epoch % 251
        return Sample(rgb, int(LABELS[index]), None, f"s{index}")


class Knowing(Numbers):
    """Numbers that know their labels, in blocks."""

    def __init__(self, labels: np.ndarray = LABELS, block: int = 1) -> None:
        super().__init__()
        self._labels, self.block = labels, block

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> np.ndarray:
        return self._labels


def balanced(balance: float, epoch: int = 2, seed: int = 9) -> list[tuple[int, int]]:
    draws = balanced_draws(Knowing(), epoch, seed, balance)
    assert draws is not None
    return draws


def test_labels_are_those_that_the_source_knows() -> None:
    assert labels_of(Numbers()) is None
    known = labels_of(Knowing())
    assert known is not None
    assert known.tolist() == LABELS.tolist()


def test_without_balance_every_sample_comes_once() -> None:
    everything = [(index, 2) for index in range(len(LABELS))]
    assert sorted(balanced(0.0)) == sorted(plain_draws(Numbers(), 2, 9)) == everything
    assert balanced(0.0) != everything


def test_balanced_classes_come_equally_often_and_samples_take_turns() -> None:
    order = balanced(1.0)
    assert Counter(int(LABELS[index]) for index, _ in order) == {0: 6, 1: 6, 2: 6, 3: 6}
    assert Counter(index for index, _ in order if LABELS[index] == 1) == {12: 2, 13: 2, 14: 2}
    assert len(set(order)) == len(order), "no tile is shown twice with the same augmentation"
    assert {variant for index, variant in order if LABELS[index] == 3} == {2, 2 + REPEAT_STRIDE, 2 + 2 * REPEAT_STRIDE}


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert balanced(0.5) == balanced(0.5)
    assert balanced(0.5) != balanced(0.5, seed=10)
    assert [index for index, _ in balanced(0.0)] != [index for index, _ in balanced(0.0, epoch=3)]


def test_unknown_labels_are_left_out_and_blocks_stay_together() -> None:
    labels = np.repeat([2, -1, 0, 2, 1, 3], 4)
    draws = balanced_draws(Knowing(labels, 4), 0, 1, 0.0)
    assert draws is not None
    runs = [[index for index, _ in draws[start : start + 4]] for start in range(0, len(draws), 4)]
    assert sorted(sorted(run) for run in runs) == [list(range(4 * k, 4 * k + 4)) for k in (0, 2, 3, 4, 5)]
    assert any(run != sorted(run) for run in runs)


def test_sources_that_mix_classes_or_do_not_know_them_balance_themselves() -> None:
    assert balanced_draws(Numbers(), 0, 1, 1.0) is None
    assert balanced_draws(Knowing(np.array([0, 1] * 6), 4), 0, 1, 1.0) is None


def test_what_is_read_once_is_kept_where_it_is_little() -> None:
    source = Numbers()
    plan = in_batches(plain_draws(source, 0, 1), 5, drop_last=False)
    for limit, reads in ((10**6, 24), (700, 72)):
        source.read = 0
        batches = KeptBatches(Loader(source), plan, limit)
        seen = [torch.cat([batch.labels for batch in batches]).tolist() for _ in range(3)]
        assert seen[0] == seen[1] == seen[2]
        assert sorted(seen[0]) == sorted(LABELS.tolist())
        assert source.read == reads


def test_the_last_small_batch_is_dropped_unless_it_is_the_only_one() -> None:
    draws = [(k, 0) for k in range(7)]
    assert [len(batch) for batch in in_batches(draws, 3, drop_last=True)] == [3, 3]
    assert [len(batch) for batch in in_batches(draws, 3, drop_last=False)] == [3, 3, 1]
    assert [len(batch) for batch in in_batches(draws, 9, drop_last=True)] == [7]


def test_the_loader_reads_what_is_planned_and_draws_no_random_number() -> None:
    before = torch.get_rng_state()
    loader = Loader(Numbers())
    for plan in ([[(3, 0), (1, 4)], [(20, 1)]], [[(7, 2)]], []):
        read = list(loader.batches(plan))
        seen = [[(int(rgb[1, 1, 1]), int(rgb[0, 0, 0])) for rgb in batch.rgb] for batch in read]
        assert seen == plan
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_holds_pairs_only_when_all_are() -> None:
    rgb = np.zeros((3, 5, 3), np.uint8)
    paired, alone = Sample(rgb, 2, rgb + 1, "a"), Sample(rgb, -1, None, "b")
    batch = stack([paired, paired])
    assert batch.he is not None
    assert batch.he.shape == (2, 3, 5, 3)
    mixed = stack([paired, alone])
    assert mixed.he is None
    assert (mixed.labels.tolist(), mixed.groups) == ([2, -1], ("a", "b"))


def test_another_size_is_named() -> None:
    small, large = np.zeros((3, 5, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(UsageError, match=r"slide-b: has a sample of 5 x 4 px among those of 5 x 3 px"):
        stack([Sample(small, 0, None, "slide-a"), Sample(large, 0, None, "slide-b")])
    with pytest.raises(UsageError, match="slide-c"):
        stack([Sample(small, 0, large, "slide-c")])
