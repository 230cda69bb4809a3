"""An executor that runs no task twice: what is kept, what is run again, and in which words work is known."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import load_settings
from wsi_pipeline.engine.executors import SerialExecutor
from wsi_pipeline.flows import resume
from wsi_pipeline.flows.networks import Networks
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.resume import JournaledExecutor, code_digest, request_key, work_key


class Square(NamedTuple):
    """An outcome."""

    number: int
    square: int


ran: list[int] = []


def square(number: int) -> Square:
    ran.append(number)
    if number == 13:
        raise KeyboardInterrupt
    return Square(number, number * number)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def test_what_has_an_outcome_is_not_run_again(tmp_path: Path) -> None:
    killed = JournaledExecutor(SerialExecutor(), tmp_path)
    tasks = [5, 3, 13, 4]
    with pytest.raises(KeyboardInterrupt):
        list(killed.run(square, tasks))
    assert ran == [5, 3, 13]
    ran.clear()
    tasks[2] = 2
    again = JournaledExecutor(SerialExecutor(), tmp_path)
    assert sorted(again.run(square, iter(tasks))) == [Square(2, 4), Square(3, 9), Square(4, 16), Square(5, 25)]
    assert ran == [2, 4]
    assert again.taken_up == 2
    ran.clear()
    assert len(list(again.run(square, tasks))) == 4
    assert ran == []


def test_a_damaged_outcome_is_made_again(tmp_path: Path) -> None:
    list(JournaledExecutor(SerialExecutor(), tmp_path).run(square, [1, 2, 3]))
    (record,) = tmp_path.rglob("000001.npz")
    record.write_bytes(record.read_bytes()[:-20])
    ran.clear()
    again = JournaledExecutor(SerialExecutor(), tmp_path)
    assert sorted(again.run(square, [1, 2, 3])) == [Square(1, 1), Square(2, 4), Square(3, 9)]
    assert (ran, again.taken_up) == ([2], 2)


def test_two_passes_keep_apart(tmp_path: Path) -> None:
    def cube(number: int) -> Square:
        return Square(number, number**3)

    cube.__annotations__["return"] = Square
    executor = JournaledExecutor(SerialExecutor(), tmp_path)
    assert list(executor.run(square, [3])) == [Square(3, 9)]
    assert list(executor.run(cube, [3])) == [Square(3, 27)]


def key(**given: object) -> object:
    settings = load_settings(None, given.pop("settings", {}))  # type: ignore[arg-type]
    request = ScoreRequest(Path("a.svs"), Path("out"), settings, **given)  # type: ignore[arg-type]
    return request_key(request, Networks(), AssayProfile(name="default"))


def test_the_key_changes_with_all_that_can_change_a_result(tmp_path: Path) -> None:
    roi = tmp_path / "roi.geojson"
    roi.write_text("{}")
    keys = [
        key(), key(mpp=0.25), key(assume_mpp=0.25), key(stain="ihc"), key(reader="openslide"), key(pieces=(1,)),
        key(settings={"rule.min_cells": 7}), key(settings={"tiling.region_tiles": 1}), key(roi=roi),
        key(settings={"rule.tumour": "gastroesophageal"}),
        key(settings={"rule.tumour": "gastroesophageal", "rule.specimen": "biopsy"}),
    ]  # fmt: skip
    roi.write_text('{"type": "Polygon"}')
    keys.append(key(roi=roi))
    for number, one in enumerate(keys):
        assert one not in keys[:number]


def test_the_key_does_not_change_with_how_the_work_is_spread() -> None:
    assert key() == key(scheduler="tcp://x:1", settings={"engine.workers": 7})


def whole_key(monkeypatch: pytest.MonkeyPatch, sha256: str = "a", reader: str = "fast", code: str = "c") -> object:
    """Return what identifies a run's work, of the slide with this digest and reader, by code with that digest."""
    monkeypatch.setattr(resume, "code_digest", lambda: code)
    request = ScoreRequest(Path("a.svs"), Path("out"), load_settings(None, {}))
    plan = SimpleNamespace(
        networks=Networks(), assay=AssayProfile(name="default"), slide=SimpleNamespace(reader=reader)
    )
    return work_key(request, cast(RunPlan, plan), sha256)


def test_slide_reader_and_code_identify_work(monkeypatch: pytest.MonkeyPatch) -> None:
    same = whole_key(monkeypatch)
    assert same == whole_key(monkeypatch)
    assert same != whole_key(monkeypatch, sha256="b")
    assert same != whole_key(monkeypatch, reader="openslide")
    assert same != whole_key(monkeypatch, code="d")
    monkeypatch.setattr(resume, "versions", lambda: {"wsi-her2": "0", "numpy": "another"})
    assert same != whole_key(monkeypatch)


def test_the_digest_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "wsi_pipeline"
    (package / "cells").mkdir(parents=True)
    (package / "cells/a.py").write_text("x = 1")
    monkeypatch.setattr(sys.modules["wsi_pipeline"], "__path__", [str(package)])
    digest = code_digest.__wrapped__
    first = digest()
    assert (len(first), first) == (64, digest())
    (package / "cells/a.py").write_text("x = 2")
    changed = digest()
    (package / "cells/a.py").rename(package / "cells/b.py")
    assert len({first, changed, digest()}) == 3
