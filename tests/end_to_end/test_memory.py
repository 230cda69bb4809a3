"""The memory budget on the command line: refusals, fewer workers with the same result, a batch that goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.said import own_words
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide

pytestmark = pytest.mark.slow

CELLS_ONLY = ("--set", "models.classifier=none")


def test_too_little_is_refused_before_anything_is_done(
    samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    slide = samples / "phantom_heterogeneous.svs"
    outcome = score(slide, tmp_path / "out", "--set", "engine.memory_gb=0.2", *CELLS_ONLY, serial=False)
    assert outcome.code == 7
    words = own_words(outcome.stderr)
    assert words.count("\n") == 1
    assert f"{slide}: scoring it needs at least about 0.5" in words
    assert "GB of memory, and 0.20 GB may be used (allow more with --set engine.memory_gb=0.6" in words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gigabytes", [-1, 0, "much"])
def test_a_budget_that_is_none_is_a_mistake(
    gigabytes: object, samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = score(samples / "phantom_null.svs", tmp_path / "out", "--set", f"engine.memory_gb={gigabytes}")
    assert outcome.code == 2
    assert "engine.memory_gb" in outcome.stderr


def test_one_worker_of_two_gives_the_same(
    oracle: Any, samples: Path, score: Callable[..., Any], assert_same: Callable[..., None], tmp_path: Path
) -> None:
    least = 0.5 if "classifier: " not in oracle.stderr else 1.0 if "openvino, cpu" in oracle.stderr else 2.0
    words = ("--set", "tiling.region_tiles=1", "--set", "engine.workers=2", "--set", f"engine.memory_gb={least}")
    outcome = score(samples / "phantom_heterogeneous.svs", tmp_path / "few", *words, serial=False)
    assert outcome.code == 0, outcome.stderr
    engine = outcome.result["provenance"]["engine"]
    assert (engine["workers"], engine["workers_wanted"], engine["memory_budget_gb"]) == (1, 2, least)
    assert 0 < engine["memory_estimate_gb"] <= least
    assert "memory: 1 of 2 workers were started; with these about " in outcome.stderr
    assert_same(oracle, outcome)


def test_a_slide_of_a_batch_that_does_not_fit_fails_alone(start: Callable[..., Any], tmp_path: Path) -> None:
    folder, out = tmp_path / "slides", tmp_path / "out"
    folder.mkdir()
    for name, width, height in (("a small", 1387, 1009), ("b large", 3311, 2503), ("c small", 1109, 1387)):
        options = PhantomOptions(name=name, seed=5, width=width, height=height, mpp_y=0.26, mix={"2": 1.0})
        write_slide(make_phantom(options), folder / f"{name}.svs")
    words = ("--set", "engine.memory_gb=0.62", "--set", "engine.workers=2", *CELLS_ONLY)
    batch = start("batch", folder, "-o", out, *words)
    _, said = batch.communicate(timeout=120)
    assert batch.returncode == 12, said
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    ended = {name: row["status"] == "failed" for name, row in rows.items()}
    assert ended == {"a small.svs": False, "b large.svs": True, "c small.svs": False}, said
    assert rows["b large.svs"]["message"].startswith("scoring it needs at least about 0.6")
    assert "0.62 GB may be used" in rows["b large.svs"]["message"]
