"""What networks can be measured against: the sums that a tile takes, at the rate of a plain matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsi_pipeline.models.runtime import Runtime

CPU_SIDES, CUDA_SIDES = (512, 1024), (4096, 8192)
"""Sides of the multiplied matrices; the quickest counts."""

CHANNELS, PLACES = 512, 32
"""Channels of a 1 x 1 convolution, which is a matrix product, and side of its picture: for OpenVINO."""

REPEATS = 5
"""How often the time is taken; the shortest counts."""


def flop_per_tile(network: nn.Module, side_px: int) -> float:
    """Return the additions and multiplications of a (1, 3, side, side) tile in convolutions and matrix products."""
    counter = FlopCounterMode(display=False)
    device = next(network.parameters()).device
    with counter, torch.inference_mode():
        network(torch.zeros(1, 3, side_px, side_px, device=device))
    return float(counter.get_total_flops())


def matmul_flop_per_s(runtime: Runtime) -> float:
    """Return the additions and multiplications per second of matrix products, as `runtime` would run them.

    One thread on processors, which is how networks run there.
    """
    if runtime.backend == "openvino":
        return _openvino_rate(runtime)
    device, dtype = torch.device(runtime.device), runtime.dtype
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = []
    try:
        for side in CPU_SIDES if runtime.device == "cpu" else CUDA_SIDES:
            one, other = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
            rates.append(2.0 * side**3 / _quickest(partial(torch.matmul, one, other), runtime.device))
    finally:
        torch.set_num_threads(threads)
    return max(rates)


def _openvino_rate(runtime: Runtime) -> float:
    """Return the rate of a 1 x 1 convolution on one thread of OpenVINO."""
    from wsi_pipeline.models.conversion import converted  # noqa: PLC0415 - OpenVINO is optional
    from wsi_pipeline.models.openvino_backend import CompiledNetwork  # noqa: PLC0415

    shape = (1, CHANNELS, PLACES, PLACES)
    product = CompiledNetwork(converted(nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False).eval(), shape), runtime.precision)
    tiles = torch.rand(shape).numpy()
    return 2.0 * CHANNELS**2 * PLACES**2 / _quickest(lambda: product(tiles), "cpu")


def _quickest(work: Callable[[], Any], device: str) -> float:
    """Return the shortest of several times that `work` takes, s."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
