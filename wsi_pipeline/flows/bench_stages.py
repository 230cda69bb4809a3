"""From rounds to stages: rates, shares, what the whole slide would take, and which stage limits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from wsi_pipeline.flows.bench_record import Bottleneck, OnceSeconds, StageRecord
from wsi_pipeline.flows.bench_rounds import Done, Round
from wsi_pipeline.flows.bench_work import Load

PASSES = {"process_stain_region": "stain", "process_tile_region": "classify", "process_region": "measure"}
"""Function that a pass runs -> the pass, in the order of a run."""

STAGES = {
    ("stain", "stain"): "stainer",
    ("stain", "stain_write"): "write stain",
    ("classify", "read"): "read for classifier",
    ("classify", "classify"): "classifier",
    ("classify", "quality"): "stain quality",
    ("measure", "read"): "read",
    ("measure", "unmix"): "cells",
    ("measure", "measure"): "cells",
    ("measure", "write"): "write",
}
"""(pass, part of a region's time) -> stage."""

OTHER = "other"
"""What a region's parts do not tell: columns of tables, sharpness, opening files."""

STAIN_TILE_PX = 256
"""Side of the tiles in which stained tissue is counted, px of the stainer: a stain has no tiles of its own."""

DEVICE_PASSES = {"stain", "classify"}
"""Passes that run where a GPU is, in runs with one."""

LEAST_SHARE = 5e-4
"""Of a pass, below which a stage is not shown: it was not made, or is nothing to anybody."""

MORE = "more processors, here or on other machines, would relieve it"
RELIEF = {
    "stainer": "a GPU would relieve it",
    "write stain": "a quicker disk would relieve it",
    "read for classifier": f"{MORE}, or a level of the slide nearer to the classifier's pixels",
    "classifier": "a GPU, or OpenVINO where it is not used yet, would relieve it",
    "stain quality": MORE,
    "read": f"{MORE}, or quicker storage",
    "cells": MORE,
    "write": "a quicker disk would relieve it",
    OTHER: MORE,
    "start": "a batch pays it once for all its slides",
    "survey": "it is one look at the whole slide on one core; a batch looks at the next slide meanwhile",
    "finish": "it is done on one core; a batch begins the next slide meanwhile",
}
RELIEF_ON_GPUS = dict.fromkeys(("stainer", "classifier"), "more GPUs, or quicker ones, would relieve it")
"""What is said instead where GPUs are used already."""

TITLES = {"start": "starting (imports, workers, networks)", OTHER: "what no stage is named for"}
"""What stages are called in a sentence, where their name does not do."""


class Ceiling(NamedTuple):
    """What a stage could reach at most, tiles per second and thread, and what that is."""

    tiles_per_s: float | None
    words: str


NO_CEILING = Ceiling(None, "none known")


class TileSize(NamedTuple):
    """What a tile of a pass is: its side, px of the pass, and its width and height, um."""

    px: int
    um: tuple[float, float]


def tiles_in(done: Sequence[Done]) -> float:
    """Return how many tiles with tissue the tasks of one pass had."""
    total = 0.0
    for task in done:
        tiles = getattr(task.outcome, "tiles", None)
        total += len(tiles["tile"]) if tiles is not None else task.outcome.scored_px / STAIN_TILE_PX**2
    return total


def stage_records(
    rounds: Sequence[Round], ceilings: Mapping[str, Ceiling], sizes: Mapping[str, TileSize]
) -> tuple[StageRecord, ...]:
    """Return the stages of all passes, in the order of a run; `sizes`: pass -> its tiles. Shares add up to 100."""
    found = []
    for function, name in PASSES.items():
        done = [round_.done.get(function, ()) for round_ in rounds]
        seconds, tiles = _typical_seconds(name, done), median(tiles_in(tasks) for tasks in done)
        total = sum(seconds.values())
        for stage, taken in seconds.items():
            ceiling = ceilings.get(stage, NO_CEILING)
            found.append(
                StageRecord(
                    name=stage,
                    in_pass=name,
                    tile_px=sizes[name].px,
                    tile_um=sizes[name].um,
                    tiles_per_s_per_core=tiles / taken,
                    ceiling_tiles_per_s_per_core=ceiling.tiles_per_s,
                    ceiling=ceiling.words,
                    share_of_pass_percent=100 * taken / total,
                )
            )
    return tuple(found)


def survey_record(tiles: int, seconds: float, ceiling: Ceiling, size: TileSize) -> StageRecord:
    """Return the look at the whole slide as a stage; `tiles`: with tissue, of the whole slide."""
    return StageRecord(
        name="survey",
        in_pass="survey",  # noqa: S106 - not a password
        tile_px=size.px,
        tile_um=size.um,
        tiles_per_s_per_core=tiles / seconds,
        ceiling_tiles_per_s_per_core=ceiling.tiles_per_s,
        ceiling=ceiling.words,
        share_of_pass_percent=100.0,
    )


def _typical_seconds(name: str, rounds: Sequence[Sequence[Done]]) -> dict[str, float]:
    """Return stage -> s on one thread, medians of the rounds of one pass; what is too short to show is in `OTHER`."""
    parts = [_stage_seconds(name, done) for done in rounds]
    stages = dict.fromkeys(stage for seconds in parts for stage in seconds)
    typical = {stage: median(seconds.get(stage, 0.0) for seconds in parts) for stage in stages}
    shown = LEAST_SHARE * sum(typical.values())
    kept = {stage: taken for stage, taken in typical.items() if stage != OTHER and taken > shown}
    rest = sum(typical.values()) - sum(kept.values())
    return kept | ({OTHER: rest} if rest > shown else {})


def _stage_seconds(name: str, done: Sequence[Done]) -> dict[str, float]:
    """Return stage -> s of all tasks of one pass in one round; they add up to the time that the tasks took."""
    seconds: dict[str, float] = {}
    for task in done:
        for part, taken in task.outcome.seconds.items():
            stage = STAGES[name, part]
            seconds[stage] = seconds.get(stage, 0.0) + taken
    if done:
        seconds[OTHER] = max(sum(task.seconds for task in done) - sum(seconds.values()), 0.0)
    return seconds


def whole_slide_seconds(
    rounds: Sequence[Round], loads: Mapping[str, Load], threads: tuple[int, int]
) -> dict[str, float]:
    """Return how long each pass takes over the whole slide, s, by what its units took in the rounds.

    `loads`: function -> what it has to do; `threads`: around GPUs, and of ordinary workers. No more of them work than
    there are regions.
    """
    found = {}
    for function, name in PASSES.items():
        load = loads.get(function, Load(0, 0))
        if not load.units:
            continue
        each = median(
            sum(task.seconds for task in done) / max(_units_of(name, done), 1)
            for done in (round_.done.get(function, ()) for round_ in rounds)
        )
        at_once = threads[0] if threads[0] and name in DEVICE_PASSES else threads[1]
        found[name] = each * load.units / max(min(at_once, load.regions), 1)
    if "stain" in found:
        found["pyramid"] = _pyramid(rounds, loads["process_stain_region"].units)
        found["calibrate"] = median(round_.seconds.get("region_calibrate", 0.0) for round_ in rounds)
    return found


def _units_of(name: str, done: Sequence[Done]) -> float:
    """Return how many regions, or tiles of the classifier, the tasks were."""
    return tiles_in(done) if name == "classify" else len(done)


def _pyramid(rounds: Sequence[Round], regions: int) -> float:
    """Return how long the upper levels of a virtual stain take, s."""
    return median(
        round_.seconds.get("pyramid", 0.0) / max(len(round_.done.get("process_stain_region", ())), 1)
        for round_ in rounds
    ) * regions  # fmt: skip


def finish_seconds(sample: tuple[float, int], one: float, regions: int) -> float:
    """Return what tables and maps of all `regions` take, s: a straight line through one region and the sample.

    `sample`: what they took for the sample, s, and its number of regions; `one`: for one region, s.
    """
    taken, sampled = sample
    each = max(taken - one, 0.0) / (sampled - 1) if sampled > 1 else 0.0
    return one + each * (regions - 1)


def seconds_by_stage(stages: Sequence[StageRecord], once: OnceSeconds, passes: Mapping[str, float]) -> dict[str, float]:
    """Return stage -> s of a run over the whole slide; all that a run takes, so that they add up to its time."""
    found = {
        "start": once.start + once.choose_networks + once.start_workers + once.first_regions + once.stop_workers,
        "survey": once.hash + once.survey,
        "finish": once.finish + passes.get("pyramid", 0.0),
    }
    if "calibrate" in passes:
        found["stainer"] = passes["calibrate"]
    for stage in stages:
        taken = passes.get(stage.in_pass, 0.0) * stage.share_of_pass_percent / 100
        found[stage.name] = found.get(stage.name, 0.0) + taken
    return found


def find_bottleneck(seconds: Mapping[str, float], *, on_gpus: bool = False) -> Bottleneck:
    """Return which stage takes most of a run, and what would relieve it; `seconds`: stage -> s."""
    name = max(seconds, key=lambda each: seconds[each])
    share = 100 * seconds[name] / sum(seconds.values())
    relief = (RELIEF_ON_GPUS if on_gpus else {}).get(name, RELIEF[name])
    sentence = f"{TITLES.get(name, name)} takes {share:.0f} % of the run; {relief}"
    return Bottleneck(stage=name, share_of_run_percent=share, sentence=sentence)
