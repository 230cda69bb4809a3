"""How a result was made: versions, machine, device, and how long each stage took."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wsi_pipeline import __version__

PACKAGES = (
    "openslide-python", "openslide-bin", "tiffslide", "tifffile", "imagecodecs", "numpy", "opencv-python-headless",
    "numcodecs", "dask", "distributed", "pyarrow", "shapely", "pydantic", "torch",
)  # fmt: skip
"""Packages whose version can change a result or its files."""


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the packages that matter; absent ones are left out."""
    found = {"wsi-her2": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Return the operating system and processor kind; no host name, no user."""
    return {"system": platform.system(), "release": platform.release(), "processor": platform.machine()}


class Stopwatch:
    """Seconds spent in named stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add `seconds` to `name`."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def rounded(self) -> dict[str, float]:
        """Return seconds per stage, to the millisecond."""
        return {name: round(seconds, 3) for name, seconds in self.seconds.items()}
