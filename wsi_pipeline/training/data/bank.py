"""Painted phantoms, kept: in memory, or in a folder that all processes share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic

OPEN_FILES = 128
"""Memory-mapped phantoms that a process holds open."""


class Painted(NamedTuple):
    """A phantom ready to be cut."""

    pixels: NDArray[np.uint8]
    """(1, H, W, 3) IHC, or (2, H, W, 3) IHC and H&E."""
    places: NDArray[np.int64]
    """(n, 3): left and upper edge of a possible tile, px, and what it is (a label, or a code of the source)."""
    seed: int


class Bank:
    """Phantoms by number. Without a folder the last `kept` are remembered; with one, all are, as files."""

    def __init__(self, paint: Callable[[int], Painted], kept: int, folder: Path | None) -> None:
        """`paint` makes a phantom; what it makes for a number must never change within `folder`."""
        self._paint, self._folder = paint, folder
        self._limit = kept if folder is None else OPEN_FILES
        self._kept: OrderedDict[int, Painted] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave pixels behind when sent to another process."""
        return self.__dict__ | {"_kept": OrderedDict()}

    def __getitem__(self, number: int) -> Painted:
        """Return phantom `number`, painting it if nobody has. Raises OutputError where the folder cannot be used."""
        if number not in self._kept:
            while len(self._kept) >= self._limit:
                self._kept.popitem(last=False)
            self._kept[number] = self._paint(number) if self._folder is None else self._stored(number, self._folder)
        self._kept.move_to_end(number)
        return self._kept[number]

    def _stored(self, number: int, folder: Path) -> Painted:
        """Return a phantom from its files; the pixels are written last, so that they mean that all is there."""
        pixels, places = folder / f"{number}.pixels.npy", folder / f"{number}.places.npy"
        if not pixels.is_file():
            painted = self._paint(number)
            with plain_disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            table = np.vstack([painted.places, _seed_row(painted.seed)])
            write_atomic(places, lambda stream: np.save(stream, table))
            write_atomic(pixels, lambda stream: np.save(stream, painted.pixels))
        try:
            table = np.load(places)
            return Painted(np.load(pixels, mmap_mode="r"), table[:-1], _seed_of(table[-1]))
        except (OSError, ValueError, EOFError) as error:
            raise OutputError(pixels, f"cannot be read: {error}", "delete the folder of kept phantoms") from error


def _seed_row(seed: int) -> NDArray[np.int64]:
    """Return a seed as three numbers of 40 bits, lowest first."""
    return np.array([[seed & _LOW, seed >> 40 & _LOW, seed >> 80]], dtype=np.int64)


def _seed_of(row: NDArray[np.int64]) -> int:
    """Return the seed that `_seed_row` took apart."""
    return int(row[0]) | int(row[1]) << 40 | int(row[2]) << 80


_LOW = 2**40 - 1
