"""Rounds go on as long as asked, and each pass is taken from regions of its own."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsi_pipeline.config import Settings
from wsi_pipeline.flows.bench_rounds import Bench, Done, Round, drawn_boxes
from wsi_pipeline.flows.bench_work import Sample
from wsi_pipeline.geometry import Box
from wsi_pipeline.tissue.roi import read_roi

CELLS, TILES = [Box(0, 0, 9, 7), Box(20, 0, 9, 7), Box(40, 3, 9, 7)], [Box(0, 0, 33, 21)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a bench whose rounds only note their boxes and what they rest on, and take as many seconds."""

    def scored(self: Bench, boxes_l0: list[Box], settings: Settings | None = None) -> Round:
        rests_on = (settings or self.request.settings).evidence
        asked.append((boxes_l0, rests_on))
        done = [Done(float(len(asked)), rests_on)]
        return Round(float(len(asked)), {}, {"process_tile_region": done, "process_region": done})

    asked: list[tuple[list[Box], str]] = []
    request: Any = SimpleNamespace(settings=Settings())
    monkeypatch.setattr(Bench, "round", scored)
    made: Any = Bench(request, None, Path())  # type: ignore[arg-type]
    made.asked = asked
    return made


def test_a_classifier_is_measured_on_its_own_regions(bench: Any) -> None:
    rounds = bench.rounds(Sample(CELLS, TILES), 0)
    usual = Settings().evidence
    both = [(CELLS, usual), (TILES, "tiles")]
    assert bench.asked == [(CELLS, usual), *both, *both, ([CELLS[1]], usual), ([CELLS[1]], usual)]
    for number, warm in enumerate(rounds.warm):
        assert warm.wall_s == 2 + 2 * number
        assert warm.done["process_region"][0].outcome == usual
        assert warm.done["process_tile_region"] == [Done(3.0 + 2 * number, "tiles")]


def test_without_a_classifier_each_round_is_one(bench: Any) -> None:
    rounds = bench.rounds(Sample(CELLS, []), 0)
    assert [boxes for boxes, _ in bench.asked] == [CELLS] * 3 + [[CELLS[1]]] * 2
    assert (rounds.cold.wall_s, [warm.wall_s for warm in rounds.warm]) == (1.0, [2.0, 3.0])


def test_finishing_is_what_is_no_other_stage() -> None:
    found = Round(
        14.0,
        {"hash": 1.0, "survey": 2.0, "convert": 4.0, "workers": 0.5, "regions": 3.0, "maps": 1.0, "region_read": 9.0},
        {},
    )
    assert found.finish_s == 3.5


def test_boxes_are_drawn_to_the_px(tmp_path: Path) -> None:
    path = tmp_path / "drawn.geojson"
    path.write_text(json.dumps(drawn_boxes(CELLS)), encoding="utf-8")
    mask = read_roi(path, Box(0, 0, 60, 20).size).rasterize(Box(0, 0, 60, 20), 1)
    assert mask.sum() == sum(box.area for box in CELLS)
    assert mask[3:10, 40:49].all()
