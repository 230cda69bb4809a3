"""Chunks as files: the zarr library reads what is written here, and what it writes is read here."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.zarr_level import MapLevel
from wsi_pipeline.geometry import Box, cut

CHUNK = 64


def make(folder: Path, shape: tuple[int, int, int], dtype: str = "uint8", fill: int = 0) -> MapLevel:
    MapLevel.declare(folder, shape, CHUNK, dtype, fill)
    return MapLevel(folder)


def noise(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def files(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != ".zarray")


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 3]), st.integers(1, 200), st.integers(1, 200),
    st.sampled_from(["uint8", "uint16", "float32"]), st.sampled_from([0, 255]), st.integers(0, 99),
)  # fmt: skip
def test_zarr_and_this_read_each_other(
    tmp_path_factory: pytest.TempPathFactory, channels: int, height: int, width: int, dtype: str, fill: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("levels")
    shape = (channels, height, width)
    level, image = make(folder / "ours", shape, dtype, fill), noise(shape, dtype, seed)
    image[:, : height // 2] = fill
    for box in cut(level.size, 2 * CHUNK):
        level.write(box, image[:, box.y : box.bottom, box.x : box.right])
    np.testing.assert_array_equal(np.asarray(zarr.open_array(folder / "ours", mode="r", zarr_format=2)), image)
    MapLevel.declare(folder / "theirs", shape, CHUNK, dtype, fill)
    theirs = zarr.open_array(folder / "theirs", mode="r+", zarr_format=2, config={"write_empty_chunks": False})
    theirs[:] = image
    assert files(folder / "ours") == files(folder / "theirs")
    part = Box(width // 3, height // 4, width, height)
    np.testing.assert_array_equal(MapLevel(folder / "theirs").read(part), image[:, part.y :, part.x :])


def test_a_chunk_that_becomes_empty_has_no_file_any_more(tmp_path: Path) -> None:
    level = make(tmp_path / "0", (1, 100, 150))
    level.write(Box(64, 0, 64, 64), np.ones((1, 64, 64), np.uint8))
    assert files(tmp_path / "0") == ["0/0/1"]
    assert not level.is_untouched(Box(100, 10, 3, 3))
    level.write(Box(64, 0, 64, 64), np.zeros((1, 64, 64), np.uint8))
    assert files(tmp_path / "0") == []
    assert level.is_untouched(Box(0, 0, 150, 100))


def test_a_chunk_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = make(tmp_path / "0", (1, 100, 150))
    before = noise((1, 64, 64), "uint8", 1)
    level.write(Box(0, 0, 64, 64), before)

    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        level.write(Box(0, 0, 64, 64), before + 1)
    np.testing.assert_array_equal(level.read(Box(0, 0, 64, 64)), before)
    assert files(tmp_path / "0") == ["0/0/0"]


def test_a_level_that_was_deleted_is_not_made_again(tmp_path: Path) -> None:
    level = make(tmp_path / "0", (1, 100, 150))
    (tmp_path / "0" / ".zarray").unlink()
    (tmp_path / "0").rmdir()
    with pytest.raises(FileNotFoundError):
        level.write(Box(0, 0, 64, 64), noise((1, 64, 64), "uint8", 1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "{", "[]", '{"shape": [1, 2]}', '{"zarr_format": 2, "shape": [3, 9, 9]}'])
def test_what_is_no_level_is_refused(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "0").mkdir()
    if content is not None:
        (tmp_path / "0" / ".zarray").write_text(content)
    with pytest.raises(OutputError, match="is no level of a map"):
        MapLevel(tmp_path / "0")
