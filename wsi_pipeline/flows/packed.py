"""Tasks that travel small: what a scheduler holds of a region is a few kB, however many map pixels its masks have."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

LEVEL = 1
"""zlib's quickest: masks of tissue and its pieces are long runs of one value; 197 kB become about 1 kB in 1 ms."""


class _Packed(tuple[bytes, str, tuple[int, ...]]):
    """Compressed bytes, dtype and shape of an array."""

    __slots__ = ()


class PackedTask:
    """Base of task dataclasses whose arrays are compressed whenever the task is pickled."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, arrays compressed."""
        return {name: _pack(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the fields back."""
        vars(self).update({name: _unpack(value) for name, value in state.items()})


def _pack(value: Any) -> Any:
    """Return an array compressed, anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    return _Packed((zlib.compress(value.tobytes(), LEVEL), value.dtype.str, value.shape))


def _unpack(value: Any) -> Any:
    """Return what was packed."""
    if not isinstance(value, _Packed):
        return value
    content, dtype, shape = value
    return np.frombuffer(bytearray(zlib.decompress(content)), dtype).reshape(shape)
