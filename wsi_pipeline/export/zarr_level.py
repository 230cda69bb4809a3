"""One level of a map: an array of Zarr v2 whose chunks are files, each encoded and written by itself.

Chunks do not pass through the zarr library (3.1): its event loop and threads took longer for a chunk than compressing
and writing it does, half of what a run did after its regions, and went on for a moment when a run was interrupted. The
tests read and write with that library what is written and read here.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numcodecs import Blosc, blosc, get_codec

from wsi_pipeline.errors import OutputError
from wsi_pipeline.geometry import Box, Size, ceil_div

Planes = npt.NDArray[Any]
"""(C, H, W), one plane per channel, of the level's dtype."""

CODEC = Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE)
"""QuPath opens no plain zstd. Level 5, which is zarr's own, takes six times as long for 2 % fewer bytes of a map."""

blosc.use_threads = False  # on chunks as small as ours they take longer to start than they save

HALF_WRITTEN = "partial"
"""Last suffix of a chunk's file while it is written."""


class _Chunk(NamedTuple):
    """A chunk of one channel: its file, and what it shares with a box, as slices of both."""

    path: Path
    of_box: tuple[int, slice, slice]
    of_chunk: tuple[slice, slice]


class MapLevel:
    """One array, (C, H, W) in chunks of (1, n, n); any number of processes may write different chunks at once."""

    def __init__(self, folder: Path) -> None:
        """Read what the array in `folder` is. Raises OutputError unless it is one that `declare` made."""
        try:
            stored = json.loads((folder / ".zarray").read_text(encoding="utf-8"))
            channels, height, width = (int(length) for length in stored["shape"])
            self.chunk = int(stored["chunks"][-1])
            self.dtype = np.dtype(stored["dtype"])
            self.fill = int(stored["fill_value"])
            self._codec: Any = get_codec(dict(stored["compressor"]))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise OutputError(folder, f"is no level of a map: {error!r}") from error
        self.shape = (channels, height, width)
        self._folder = folder

    @classmethod
    def declare(cls, folder: Path, shape: tuple[int, int, int], chunk: int, dtype: str, fill: int) -> None:
        """Make an empty array in the new `folder`, as the Zarr v2 specification describes it. Raises OSError."""
        described = {
            "zarr_format": 2, "shape": shape, "chunks": (1, chunk, chunk), "dtype": np.dtype(dtype).str,
            "compressor": CODEC.get_config(), "fill_value": fill, "order": "C", "filters": None,
            "dimension_separator": "/",
        }  # fmt: skip
        folder.mkdir()
        (folder / ".zarray").write_text(json.dumps(described, indent=2), encoding="utf-8")

    @property
    def size(self) -> Size:
        """Width and height, px."""
        return Size(self.shape[2], self.shape[1])

    def write(self, box: Box, planes: Planes) -> None:
        """Write `planes` (C, h, w) at `box`, which is made of whole chunks or ends at the edge. Raises OSError.

        Beyond the edge a chunk holds the fill value. A chunk that holds nothing else has no file.
        """
        for chunk in self._chunks(box):
            part = planes[chunk.of_box]
            if (part == self.fill).all():
                chunk.path.unlink(missing_ok=True)
                continue
            whole = np.full((self.chunk, self.chunk), self.fill, self.dtype)
            whole[chunk.of_chunk] = part
            _replace(chunk.path, self._codec.encode(whole))

    def read(self, box: Box) -> Planes:
        """Return the px (C, h, w) of `box`, cropped at the edge. Raises OSError, RuntimeError for a broken chunk."""
        box = box.intersection(Box(0, 0, *self.size))
        planes = np.full((self.shape[0], box.height, box.width), self.fill, self.dtype)
        whole = np.empty((self.chunk, self.chunk), self.dtype)
        for chunk in self._chunks(box):
            try:
                packed = chunk.path.read_bytes()
            except FileNotFoundError:
                continue
            self._codec.decode(packed, out=whole)
            planes[chunk.of_box] = whole[chunk.of_chunk]
        return planes

    def is_untouched(self, box: Box) -> bool:
        """Tell whether no chunk that `box` touches was ever written, without reading any."""
        paths = [chunk.path for chunk in self._chunks(box.intersection(Box(0, 0, *self.size)))]
        present = {folder for folder in {path.parent for path in paths} if folder.exists()}
        return not any(path.parent in present and path.exists() for path in paths)

    def _chunks(self, box: Box) -> Iterator[_Chunk]:
        """Yield the chunks that `box` touches."""
        side = self.chunk
        rows = range(box.y // side, ceil_div(box.bottom, side))
        columns = range(box.x // side, ceil_div(box.right, side))
        for channel, row in product(range(self.shape[0]), rows):
            folder = self._folder / str(channel) / str(row)
            for column in columns:
                chunk = Box(column * side, row * side, side, side)
                shared = chunk.intersection(box)
                yield _Chunk(folder / str(column), (channel, *shared.slices_in(box)), shared.slices_in(chunk))


def _replace(path: Path, content: bytes) -> None:
    """Write a chunk's file beside its place and move it there, so that it is never half there; without fsync."""
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.{HALF_WRITTEN}")
    try:
        try:
            beside.write_bytes(content)
        except FileNotFoundError:  # the first chunk of its row; a level that is gone is not made again
            path.parent.parent.mkdir(exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
