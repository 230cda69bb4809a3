"""An executor that runs no task twice: what is kept, what is run again, and in which words work is known."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import load_settings
from wsi_pipeline.engine.executors import SerialExecutor
from wsi_pipeline.flows.networks import Networks
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.resume import JournaledExecutor, code_digest, request_key


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
    ]  # fmt: skip
    roi.write_text('{"type": "Polygon"}')
    keys.append(key(roi=roi))
    for number, one in enumerate(keys):
        assert one not in keys[:number]


def test_the_key_does_not_change_with_how_the_work_is_spread() -> None:
    assert key() == key(scheduler="tcp://x:1", settings={"engine.workers": 7})


def test_the_code_is_part_of_what_identifies_work() -> None:
    assert len(code_digest()) == 64
    assert code_digest() == code_digest.__wrapped__()
