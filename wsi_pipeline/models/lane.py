"""One lane per accelerator: threads of a worker read at the same time, but hand work to a device one after another.

Pixels go to the device and answers come back through pinned memory, so that neither waits for what is computed.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LANES: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_OPENING = threading.Lock()


@contextmanager
def device_lane(device: str) -> Iterator[None]:
    """Hold this process's lane of `device` ("cuda:0"); a processor ("cpu") has none. It cannot be held twice."""
    if device == "cpu":
        yield
        return
    with _OPENING:
        lane = _LANES[device]
    with lane:
        yield


def send(pixels: NDArray[np.uint8], device: str) -> Tensor:
    """Return `pixels` on `device`, in their own shape; to an accelerator they travel while the host goes on."""
    here = torch.from_numpy(np.ascontiguousarray(pixels))
    return here if device == "cpu" else here.pin_memory().to(device, non_blocking=True)


class Returning:
    """A tensor on its way back to the host; ask for it outside the lane, so that the next thread's work can follow."""

    def __init__(self, tensor: Tensor) -> None:
        """Start the copy behind everything that computes `tensor`."""
        self._host = tensor
        self._event: Any = None
        if tensor.device.type != "cpu":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.current_stream(tensor.device).record_event()

    def array(self) -> NDArray[Any]:
        """Wait for the copy, and return it."""
        if self._event is not None:
            self._event.synchronize()
        array: NDArray[Any] = self._host.numpy()
        return array
