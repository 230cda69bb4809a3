"""From rounds with known times to rates, shares, predictions and the bottleneck."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wsi_pipeline.flows.bench_record import OnceSeconds
from wsi_pipeline.flows.bench_rounds import Done, Round
from wsi_pipeline.flows.bench_stages import (
    RELIEF,
    STAGES,
    STAIN_TILE_PX,
    Ceiling,
    TileSize,
    find_bottleneck,
    finish_seconds,
    seconds_by_stage,
    stage_records,
    survey_record,
    whole_slide_seconds,
)
from wsi_pipeline.flows.bench_work import Load

SIZES = {
    "stain": TileSize(256, (118.0, 118.0)),
    "classify": TileSize(256, (122.9, 122.9)),
    "measure": TileSize(256, (64, 67)),
}


def done(seconds: float, tiles: int, **parts: float) -> Done:
    """Return a task with so many tiles, whose parts took so long."""
    return Done(seconds, SimpleNamespace(tiles={"tile": [0] * tiles}, seconds=parts))


def stained(seconds: float, tiles: float, **parts: float) -> Done:
    """Return a task of a stain, which counts px."""
    return Done(seconds, SimpleNamespace(scored_px=int(tiles * STAIN_TILE_PX**2), seconds=parts))


def round_of(wall_s: float = 1.0, seconds: dict[str, float] | None = None, **tasks: list[Done]) -> Round:
    """Return a round; `tasks`: pass -> its tasks."""
    names = {"stain": "process_stain_region", "classify": "process_tile_region", "measure": "process_region"}
    return Round(wall_s, seconds or {}, {names[name]: found for name, found in tasks.items()})


def measured(read: float, cells: float) -> Round:
    """Return a round of two regions with 30 tiles."""
    tasks = [
        done(read + cells + 0.5, 20, read=read, unmix=cells / 4, measure=3 * cells / 4, write=0.25),
        done(0.5, 10, read=0.0, unmix=0.0, measure=0.0, write=0.25),
    ]
    return round_of(measure=tasks)


def test_a_stage_is_its_median_over_the_rounds() -> None:
    rounds = [measured(1.0, 8.0), measured(2.0, 4.0), measured(9.0, 6.0)]
    stages = {stage.name: stage for stage in stage_records(rounds, {"read": Ceiling(40.0, "so much")}, SIZES)}
    assert list(stages) == ["read", "cells", "write", "other"]
    # medians, s: read 2, cells 6, write 0.5, other 0.5
    assert stages["read"].tiles_per_s_per_core == pytest.approx(30 / 2)
    assert stages["cells"].tiles_per_s_per_core == pytest.approx(30 / 6)
    assert stages["cells"].share_of_pass_percent == pytest.approx(100 * 6 / 9)
    assert stages["other"].share_of_pass_percent == pytest.approx(100 * 0.5 / 9)
    assert sum(stage.share_of_pass_percent for stage in stages.values()) == pytest.approx(100)
    assert (stages["read"].ceiling_tiles_per_s_per_core, stages["read"].ceiling) == (40.0, "so much")
    assert stages["cells"].ceiling_tiles_per_s_per_core is None
    assert (stages["write"].tile_px, stages["write"].tile_um) == (256, (64, 67))


def test_what_is_too_short_to_show_is_in_the_rest() -> None:
    rounds = [round_of(classify=[done(10.0, 4, read=3.0, classify=6.998, quality=1e-4)])]
    stages = {stage.name: stage for stage in stage_records(rounds, {}, SIZES)}
    assert list(stages) == ["read for classifier", "classifier"]  # the rest is 0.02 %
    rounds = [round_of(classify=[done(10.0, 4, read=3.0, classify=6.0, quality=1e-4)])]
    stages = {stage.name: stage for stage in stage_records(rounds, {}, SIZES)}
    assert stages["other"].share_of_pass_percent == pytest.approx(10)
    assert sum(stage.share_of_pass_percent for stage in stages.values()) == pytest.approx(100)


def test_a_stain_counts_its_area() -> None:
    rounds = [round_of(stain=[stained(4.0, 2.5, stain=3.0, stain_write=1.0)])]
    stainer, write = stage_records(rounds, {}, SIZES)
    assert (stainer.name, write.name) == ("stainer", "write stain")
    assert stainer.tiles_per_s_per_core == pytest.approx(2.5 / 3)


def test_every_stage_says_what_would_relieve_it() -> None:
    assert set(STAGES.values()) <= RELIEF.keys()


def test_the_look_at_the_whole_slide_is_a_stage() -> None:
    stage = survey_record(60, 1.5, Ceiling(900.0, "so much"), SIZES["measure"])
    assert (stage.tiles_per_s_per_core, stage.ceiling_tiles_per_s_per_core) == (40.0, 900.0)


def test_a_pass_takes_what_its_regions_took_over_all_threads() -> None:
    rounds = [round_of(measure=[done(3.0, 9), done(5.0, 2)]), round_of(measure=[done(6.0, 9), done(6.0, 2)])]
    loads = {"process_region": Load(100, 100)}
    assert whole_slide_seconds(rounds, loads, (0, 4)) == {"measure": pytest.approx(5.0 * 100 / 4)}
    assert whole_slide_seconds(rounds, loads, (3, 4)) == {"measure": pytest.approx(5.0 * 100 / 4)}


def test_a_classifier_takes_what_its_tiles_took_on_the_gpus_threads() -> None:
    rounds = [round_of(classify=[done(3.0, 9), done(1.0, 7)])]
    loads = {"process_tile_region": Load(3200, 40)}
    assert whole_slide_seconds(rounds, loads, (0, 2)) == {"classify": pytest.approx(3200 * 4 / 16 / 2)}
    assert whole_slide_seconds(rounds, loads, (8, 2)) == {"classify": pytest.approx(3200 * 4 / 16 / 8)}


def test_no_more_threads_work_than_there_are_regions() -> None:
    rounds = [round_of(measure=[done(4.0, 9), done(2.0, 2)])]
    assert whole_slide_seconds(rounds, {"process_region": Load(3, 3)}, (0, 64)) == {"measure": pytest.approx(3.0)}


def test_a_pass_without_work_takes_nothing() -> None:
    rounds = [round_of(measure=[done(4.0, 9)])]
    loads = {"process_region": Load(0, 5), "process_tile_region": Load(0, 0)}
    assert whole_slide_seconds(rounds, loads, (0, 2)) == {}


def test_a_virtual_stain_has_a_pyramid_by_regions_and_one_calibration() -> None:
    seconds = {"pyramid": 0.4, "region_calibrate": 7.0}
    rounds = [round_of(seconds=seconds, stain=[stained(2.0, 9), stained(4.0, 9)])]
    found = whole_slide_seconds(rounds, {"process_stain_region": Load(10, 10)}, (0, 2))
    assert found == {"stain": pytest.approx(15.0), "pyramid": pytest.approx(2.0), "calibrate": 7.0}


@pytest.mark.parametrize(
    ("sample", "one", "regions", "seconds"),
    [
        ((3.0, 5), 1.0, 101, 51.0),  # half a second each
        ((3.0, 5), 1.0, 5, 3.0),
        ((0.9, 5), 1.0, 1000, 1.0),  # noise
        ((1.1, 1), 1.0, 1, 1.0),
        ((1.1, 1), 1.0, 1000, 1.0),  # one region says nothing of a thousand
    ],
)
def test_tables_and_maps_take_a_straight_line(
    sample: tuple[float, int], one: float, regions: int, seconds: float
) -> None:
    assert finish_seconds(sample, one, regions) == pytest.approx(seconds)


def once(**seconds: float) -> OnceSeconds:
    """Return what is paid once: nothing but these."""
    needed = dict.fromkeys(("start", "hash", "survey", "choose_networks", "first_regions"), 0.0)
    return OnceSeconds(**(needed | seconds))


def test_stages_add_up_to_the_run() -> None:
    rounds = [
        round_of(
            seconds={"pyramid": 0.4, "region_calibrate": 7.0},
            stain=[stained(3.0, 9, stain=2.0, stain_write=0.5)],
            classify=[done(2.0, 5, read=1.0, classify=0.5, quality=0.25)],
            measure=[done(4.0, 9, read=1.0, unmix=1.0, measure=1.0, write=0.5)],
        )
    ]
    loads = {name: Load(9, 3) for name in ("process_stain_region", "process_tile_region", "process_region")}
    passes = whole_slide_seconds(rounds, loads, (0, 2))
    paid = once(start=1.0, hash=2.0, survey=3.0, choose_networks=4.0, first_regions=5.0, finish=6.0, stop_workers=0.5)
    stages = stage_records(rounds, {}, SIZES)
    found = seconds_by_stage(stages, paid, passes)
    assert sum(found.values()) == pytest.approx(paid.total() + sum(passes.values()))
    assert found["start"] == 10.5
    assert found["survey"] == 5.0
    assert found["finish"] == pytest.approx(6.0 + passes["pyramid"])
    assert found["stainer"] == pytest.approx(7.0 + passes["stain"] * 2 / 3)
    assert found["other"] == pytest.approx(passes["stain"] / 6 + passes["classify"] / 8 + passes["measure"] / 8)


@pytest.mark.parametrize("name", ["start", "survey", "cells", "classifier", "other"])
def test_the_bottleneck_takes_most(name: str) -> None:
    seconds = {"start": 2.0, "survey": 2.0, "cells": 2.0, "classifier": 2.0, "other": 2.0} | {name: 12.0}
    found = find_bottleneck(seconds)
    assert (found.stage, found.share_of_run_percent) == (name, 60.0)
    assert "takes 60 % of the run; " in found.sentence
    assert found.sentence.endswith(RELIEF[name])


def test_who_has_a_gpu_is_not_told_to_take_one() -> None:
    seconds: dict[str, Any] = {"classifier": 2.0, "cells": 1.0}
    assert "a GPU" in find_bottleneck(seconds).sentence
    assert find_bottleneck(seconds, on_gpus=True).sentence.endswith("more GPUs, or quicker ones, would relieve it")
