"""The sums of a network, counted by hand, and the rate of matrix products by a clock that stands still."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")

from torch import nn  # noqa: E402 - after the skip

from wsi_pipeline.models import arithmetic  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402


def test_a_small_network_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1, groups=6), nn.Flatten(),
        nn.Linear(150, 4),
    ).eval()  # fmt: skip
    whole = 2 * (10 * 10) * 6 * (3 * 3 * 3)
    depthwise = 2 * (5 * 5) * 6 * (3 * 3 * 1)
    linear = 2 * 150 * 4
    assert arithmetic.flop_per_tile(network, 10) == whole + depthwise + linear


def test_a_tile_four_times_as_large_takes_four_times_the_sums() -> None:
    network = nn.Conv2d(3, 5, 3, padding=1)
    assert arithmetic.flop_per_tile(network, 26) == 4 * arithmetic.flop_per_tile(network, 13)


def test_the_rate_is_that_of_the_quickest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def quickest(work: object, device: str) -> float:
        seen.append((torch.get_num_threads(), device))
        work()  # type: ignore[operator]
        return 0.5

    monkeypatch.setattr(arithmetic, "_quickest", quickest)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert arithmetic.matmul_flop_per_s(Runtime("cpu")) == 2 * max(arithmetic.CPU_SIDES) ** 3 / 0.5
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
    assert seen == [(1, "cpu")] * len(arithmetic.CPU_SIDES)


def test_threads_are_as_before_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_work: object, _device: str) -> float:
        raise MemoryError

    monkeypatch.setattr(arithmetic, "_quickest", fail)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(MemoryError):
        arithmetic.matmul_flop_per_s(Runtime("cpu"))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_openvinos_product_is_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    made = []
    monkeypatch.setattr(arithmetic, "_quickest", lambda work, _device: made.append(work()) or 0.25)
    rate = arithmetic.matmul_flop_per_s(Runtime("cpu", "fp32", "openvino"))
    assert tuple(made[0].shape) == (1, 512, 32, 32)
    assert rate == 2 * 512 * 512 * 32 * 32 / 0.25
