"""Runs sent to a URL: whole or not finished, and nothing of anybody else is touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from wsi_pipeline.errors import OutputError, StorageError
from wsi_pipeline.storage import Address, Target, list_below
from wsi_pipeline.storage.target import SENDING

Put = Callable[[str, bytes], Address]


def silent(_done: int, _total: int) -> None:
    """Hear nothing."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a finished run of three files."""
    for name, content in {"result.json": "{}", "maps/0/0/1": "px", "tabelle ä.csv": "a,b"}.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text(content)
    return tmp_path / "run"


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of files in the order in which they reach the store."""
    memory = type(fsspec.filesystem("memory"))
    real, seen = memory.put_file, []

    def put_file(self: Any, lpath: str, rpath: str, **words: Any) -> None:
        real(self, lpath, rpath, **words)
        seen.append(rpath.rpartition("/")[2])

    monkeypatch.setattr(memory, "put_file", put_file)
    return seen


def test_what_marks_a_run_as_finished_goes_last(root: Address, run: Path, order: list[str]) -> None:
    Target(root).send(run, "a/x", "result.json", silent)
    assert sorted(list_below(root)) == ["a/x/maps/0/0/1", "a/x/result.json", "a/x/tabelle ä.csv"]
    assert order[-1] == "result.json"
    assert fsspec.filesystem("memory").cat_file(root.child("a/x/maps/0/0/1").url) == b"px"


def test_what_lies_there_is_never_touched(root: Address, put: Put, run: Path) -> None:
    put("x/other", b"1")
    put("y", b"a file")
    target = Target(root)
    assert [target.free_name(name) for name in ("x", "y", "z")] == ["x-2", "y-2", "z"]
    with pytest.raises(OutputError, match=r"Ärchiv 1/x: was filled by somebody else \(the finished run is in "):
        target.send(run, "x", "result.json", silent)
    assert list(list_below(root)) == ["x/other", "y"]


def test_a_sending_that_broke_off_goes_on_in_its_folder(
    root: Address, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target, memory = Target(root), type(fsspec.filesystem("memory"))
    real = memory.put_file

    def breaks(self: Any, lpath: str, rpath: str, **words: Any) -> None:
        if rpath.endswith("csv"):
            raise PermissionError
        real(self, lpath, rpath, **words)

    monkeypatch.setattr(memory, "put_file", breaks)
    with pytest.raises(StorageError, match="the store refuses writing"):
        target.send(run, "x", "result.json", silent)
    left = list(list_below(root.child("x")))
    assert "result.json" not in left, "a run that is not whole is not taken for one"
    assert any(name.startswith(SENDING) for name in left)
    monkeypatch.setattr(memory, "put_file", real)
    other = tmp_path / "other"
    other.mkdir()
    (other / "result.json").write_text("{1}")
    with pytest.raises(OutputError, match="was filled by somebody else"):
        target.send(other, "x", "result.json", silent)
    target.send(run, "x", "result.json", silent)
    assert sorted(list_below(root.child("x"))) == ["maps/0/0/1", "result.json", "tabelle ä.csv"]


def test_a_file_that_arrives_shorter_is_noticed(root: Address, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(
        memory, "put_file", lambda self, lpath, rpath: self.pipe_file(rpath, b"?" * ("csv" not in lpath))
    )
    with pytest.raises(StorageError, match="did not arrive whole"):
        Target(root).send(run, "x", "result.json", silent)
    assert "result.json" not in list_below(root.child("x"))


def test_a_target_is_tried_before_the_work(root: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    Target(root).check()
    assert list_below(root) == {}
    for word in ("https://host/results", "s3://"):
        with pytest.raises(OutputError, match="cannot be written to"):
            Target(Address.of(word))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refuse)
    with pytest.raises(StorageError, match="the store refuses writing"):
        Target(root).check()


def test_small_files(root: Address) -> None:
    target = Target(root)
    assert (target.read("a"), target.exists("a")) == (None, False)
    target.write("a", b"1")
    assert (target.read("a"), target.exists("a"), target.exists("")) == (b"1", True, False)
    target.delete("a")
    target.delete("a")
    assert target.read("a") is None
