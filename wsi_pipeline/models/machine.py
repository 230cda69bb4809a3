"""What torch and OpenVINO find on this machine, without either of them in this process.

A run whose networks work in other processes only has to know. torch takes one to four seconds to import and then 0.3 GB
for as long as the process lives (measured with torch 2.15 built for CUDA), and a look at a GPU leaves a context there.
Where no driver of a GPU is installed, nothing needs torch to know it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from wsi_pipeline.models.options import Precision

PROGRAM = "from wsi_pipeline.models.machine import tell; tell()"

CUDA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
"""What NVIDIA calls its driver's library on Linux and on Windows."""

AMD_DRIVER = Path("/dev/kfd")
"""What AMD's driver shows on Linux; torch built for it calls its devices CUDA too."""

PROCESSOR = Path("/proc/cpuinfo")
"""Where Linux says what the processor has."""

_ahead: list[subprocess.Popen[str]] = []
"""The process that was started ahead and that nobody has heard yet, if there is one."""


class Machine(NamedTuple):
    """`capabilities`: major compute capability of each CUDA device; `openvino`: precisions, none when not installed."""

    capabilities: tuple[int, ...]
    processor_bf16: bool
    openvino: tuple[Precision, ...]


def cuda_capabilities() -> tuple[int, ...]:
    """Return the major compute capability of each CUDA device that torch finds."""
    return _cuda() if "torch" in sys.modules else _asked().capabilities


def processor_has_bf16() -> bool:
    """Return whether torch finds bf16 multiplication in this processor (avx512_bf16, which every AMX one has too)."""
    return _processor_bf16() if "torch" in sys.modules else _asked().processor_bf16


def openvino_precisions() -> frozenset[Precision]:
    """Return the precisions in which OpenVINO computes on this processor; none when it is not installed."""
    return frozenset(_openvino() if "torch" in sys.modules else _asked().openvino)


def tell() -> None:
    """Print what there is as JSON, for the process that asked."""
    sys.stdout.write("\n" + json.dumps(Machine(_cuda(), _processor_bf16(), _openvino())) + "\n")


@contextmanager
def asked_ahead() -> Iterator[None]:
    """Have another process find out while the body does what needs no answer yet; whoever asks in it waits for less."""
    if "torch" not in sys.modules:
        with suppress(OSError):  # it is asked again, and then seen
            _ahead.append(_begin())
    begun = list(_ahead)
    try:
        yield
    finally:
        _ahead.clear()
        for process in begun:
            if process.returncode is None:  # nobody heard it
                process.kill()
                process.communicate()


@cache
def _asked() -> Machine:
    """Ask another process, once; where that is of no use, find out here, so that the real error is seen."""
    try:
        answer, _ = (_ahead.pop() if _ahead else _begin()).communicate()
        capabilities, bf16, precisions = json.loads(answer.splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return Machine(_cuda(), _processor_bf16(), _openvino())
    return Machine(tuple(capabilities), bf16, tuple(precisions))


def _begin() -> subprocess.Popen[str]:
    """Start the process that finds out."""
    return subprocess.Popen(  # noqa: S603 - this very program
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _has_driver() -> bool:
    """Tell whether there is a driver through which torch might find a device."""
    for name in CUDA_DRIVERS:
        with suppress(OSError):
            ctypes.CDLL(name)
            return True
    return AMD_DRIVER.exists()


def _cuda() -> tuple[int, ...]:
    """Return what torch says of CUDA; it is not asked where there is no driver."""
    if not _has_driver():
        return ()
    import torch  # noqa: PLC0415 - heavy, and the reason for this module

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_capability(number)[0] for number in range(count))


def _processor_bf16() -> bool:
    """Return whether the processor has avx512_bf16, as Linux says or else torch."""
    with suppress(OSError):
        return " avx512_bf16" in PROCESSOR.read_text(encoding="ascii", errors="replace")
    import torch  # noqa: PLC0415

    cpu: Any = torch.cpu
    ask = getattr(cpu, "_is_avx512_bf16_supported", None)  # get_capabilities() is public, but not in torch 2.11
    return bool(ask()) if ask is not None else False


def _openvino() -> tuple[Precision, ...]:
    """Return what OpenVINO says of the processor."""
    if importlib.util.find_spec("openvino") is None:
        return ()
    from wsi_pipeline.models.openvino_backend import processor_precisions  # noqa: PLC0415 - OpenVINO is optional

    return cast("tuple[Precision, ...]", tuple(sorted(processor_precisions())))
