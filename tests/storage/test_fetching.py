"""Copies of remote files: whole, checked, and never half there."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from wsi_pipeline.errors import StorageError, UsageError
from wsi_pipeline.storage import Address, RemoteFile, fetch, fetching, forget, look

Put = Callable[[str, bytes], Address]


def silent(_done: int, _total: int) -> None:
    """Hear nothing."""


def noise(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def known(address: Address) -> RemoteFile:
    found = look(address)
    assert found is not None
    return found


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return what lets the store's answers pass through a function of (content, number of the answer)."""

    def through(change: Callable[[bytes, int], bytes]) -> list[int]:
        asked: list[int] = []
        memory = fsspec.filesystem("memory")
        real = type(memory).cat_file

        def changed(self: Any, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
            asked.append(start or 0)
            return change(real(self, path, start=start, end=end), len(asked))

        monkeypatch.setattr(type(memory), "cat_file", changed)
        monkeypatch.setattr("wsi_pipeline.storage.trouble.PAUSES_S", (0.0, 0.0))
        return asked

    return through


def test_files_arrive_as_they_are(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 1000)
    contents = {"m.mrxs": noise(12_345), "m/Data 1.dat": noise(999), "m/ä/leer": b"", "m/x": noise(1000)}
    files = {name: known(put(name, content)) for name, content in contents.items()}
    told: list[tuple[int, int]] = []
    fetch(files, tmp_path / "c", lambda done, total: told.append((done, total)))
    found = {
        path.relative_to(tmp_path / "c").as_posix(): path.read_bytes()
        for path in (tmp_path / "c").rglob("*")
        if path.is_file()
    }
    assert found == contents
    assert told[-1] == (14_344, 14_344)
    assert sorted(told) == told


def test_what_is_there_unchanged_is_not_fetched_again(put: Put, tmp_path: Path, answers: Callable[..., Any]) -> None:
    file = known(put("a.svs", noise(500)))
    fetch({"a.svs": file}, tmp_path / "c", silent)
    asked = answers(lambda content, _: content)
    fetch({"a.svs": file}, tmp_path / "c", silent)
    assert asked == []
    changed = known(put("a.svs", noise(501)))
    fetch({"a.svs": changed}, tmp_path / "c", silent)
    assert (tmp_path / "c" / "a.svs").read_bytes() == noise(501)
    os.truncate(tmp_path / "c" / "a.svs", 7)
    fetch({"a.svs": changed}, tmp_path / "c", silent)
    assert (tmp_path / "c" / "a.svs").read_bytes() == noise(501)
    assert len(asked) == 2
    forget(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_copy_is_fetched_again(put: Put, tmp_path: Path, answers: Callable[..., Any]) -> None:
    content = noise(400)
    file = replace(known(put("a", content)), tag=f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"')
    asked = answers(lambda got, number: got if number > 1 else b"?" + got[1:])
    fetch({"a": file}, tmp_path / "c", silent)
    assert (tmp_path / "c" / "a").read_bytes() == content
    assert len(asked) == 2


def test_a_tag_that_only_looks_like_an_md5_is_no_damage(put: Put, tmp_path: Path, answers: Callable[..., Any]) -> None:
    file = replace(known(put("a", b"content")), tag="0" * 32)
    asked = answers(lambda got, _: got)
    fetch({"a": file}, tmp_path / "c", silent)
    assert (tmp_path / "c" / "a").read_bytes() == b"content"
    assert len(asked) == 2, "two copies that agree"


def test_a_copy_that_is_damaged_each_time_is_refused_and_not_left(
    put: Put, tmp_path: Path, answers: Callable[..., Any]
) -> None:
    file = replace(known(put("a", b"content")), tag="0" * 32)
    answers(lambda _got, number: b"%7d" % number)
    with pytest.raises(StorageError, match=r"Ärchiv 1/a: arrives damaged: .*\(3 attempts\)"):
        fetch({"a": file}, tmp_path / "c", silent)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_copy_that_is_cut_short_is_refused(put: Put, tmp_path: Path, answers: Callable[..., Any]) -> None:
    file = known(put("a", b"content"))
    answers(lambda got, _: got[:-1])
    with pytest.raises(StorageError, match="arrives cut short"):
        fetch({"a": file}, tmp_path / "c", silent)


def test_a_file_that_changes_meanwhile_is_fetched_as_it_is_then(
    put: Put, tmp_path: Path, answers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "BLOCK_BYTES", 100)
    monkeypatch.setattr(fetching, "BLOCKS_AHEAD", 1)
    file = known(put("a", bytes(300)))

    def change(got: bytes, number: int) -> bytes:
        if number == 2:
            time.sleep(0.005)  # this store knows files by the time of their making, and times are compared in ms
            put("a", bytes([1]) * 300)
        return got

    answers(change)
    fetch({"a": file}, tmp_path / "c", silent)
    assert (tmp_path / "c" / "a").read_bytes() == bytes([1]) * 300


def test_a_connection_that_breaks_is_tried_again_a_few_times(
    put: Put, tmp_path: Path, answers: Callable[..., Any]
) -> None:
    file = known(put("a", b"content"))

    def fail(got: bytes, number: int) -> bytes:
        if number < 3:
            raise ConnectionResetError
        return got

    asked = answers(fail)
    fetch({"a": file}, tmp_path / "c", silent)
    assert len(asked) == 3

    def gone(_got: bytes, _number: int) -> bytes:
        raise ConnectionResetError

    answers(gone)
    with pytest.raises(StorageError, match="the store cannot be reached"):
        fetch({"a": known(put("a", b"other"))}, tmp_path / "c", silent)


def test_a_file_that_is_gone_is_named(put: Put, root: Address, tmp_path: Path) -> None:
    file = known(put("a", b"content"))
    fsspec.filesystem("memory").rm_file(file.address.url)
    with pytest.raises(UsageError, match="Ärchiv 1/a: no such file"):
        fetch({"a": file}, tmp_path / "c", silent)
    with pytest.raises(UsageError, match="no such file"):
        look(root.child("a"))
