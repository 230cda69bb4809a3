"""`wsi-her2 bench` as a process: it counts what a run does, its figures add up, and it leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from tests.end_to_end.conftest import Outcome
from tests.end_to_end.said import own_words

pytestmark = pytest.mark.slow

NETWORKS = importlib.util.find_spec("torch") is not None
SMALL_REGIONS = ("--set", "tiling.region_tiles=2")
QUICK = ("--seconds", 0, "--set", "engine.workers=2", *SMALL_REGIONS)
PEERS = {"wsinfer": "WSI_HER2_WSINFER_PYTHON", "tiatoolbox": "WSI_HER2_TIATOOLBOX_PYTHON"}
PATIENCE_S = 120
"""Seconds for what takes three on a machine that has nothing else to do."""

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def benched(samples: Path, wsi_her2: Cli, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return what a benchmark of a sample left, beside OpenSlide."""
    folder = tmp_path_factory.mktemp("bench")
    slide = samples / "phantom_heterogeneous.svs"
    words = ("bench", slide, "--json", "--folder", folder, "--regions", 5, *QUICK, "--compare", "openslide")
    return wsi_her2(*words, "--repeats", 2, out=folder)


@pytest.fixture(scope="module")
def record(benched: Outcome) -> dict[str, Any]:
    """Return the benchmark's JSON."""
    assert benched.code == 0, benched.stderr
    return json.loads(benched.stdout)


def test_json_is_all_that_is_printed_and_nothing_is_left(benched: Outcome) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is not JSON")

    assert benched.stdout.startswith("{\n")
    json.loads(benched.stdout, parse_constant=refuse)
    assert benched.stderr == ""
    assert list(benched.out.iterdir()) == []


def test_the_counts_are_those_of_a_run(record: dict[str, Any], samples: Path, score: Cli, tmp_path: Path) -> None:
    run = score(samples / "phantom_heterogeneous.svs", tmp_path / "run", *SMALL_REGIONS)
    assert run.code == 0, run.stderr
    assert record["work"]["tissue_tiles"] == len(run.table("tiles.parquet")["tile"]) > 50
    assert record["work"]["regions"] == run.result["provenance"]["engine"]["regions"] > 5
    assert record["work"]["tissue_mm2"] == pytest.approx(run.result["tissue_mm2"], abs=1e-3)
    assert record["evidence"] == run.result["evidence"]
    assert record["work"]["classified_tiles"] == (run.result["tiles"]["classified"] if NETWORKS else 0)
    assert set(record["networks"]) == ({"classifier"} if NETWORKS else set())
    assert (record["sampled_regions"], record["rounds"]) == (5, 2)


def test_shares_of_a_pass_add_up(record: dict[str, Any]) -> None:
    passes: dict[str, float] = {}
    for stage in record["stages"]:
        passes[stage["in_pass"]] = passes.get(stage["in_pass"], 0.0) + stage["share_of_pass_percent"]
        assert stage["tiles_per_s_per_core"] > 0
    assert set(passes) == {"survey", "measure", *(["classify"] if NETWORKS else [])}
    assert list(passes.values()) == pytest.approx([100.0] * len(passes))


def test_the_prediction_is_the_sum_of_its_parts(record: dict[str, Any]) -> None:
    parts = [*record["once_seconds"].values(), *record["passes_seconds"].values()]
    assert all(seconds >= 0 for seconds in parts)
    assert record["predicted_seconds"] == pytest.approx(sum(parts))
    assert record["predicted_minutes"] == pytest.approx(sum(parts) / 60)
    assert record["predicted_tiles_per_s"] == pytest.approx(record["work"]["tissue_tiles"] / sum(parts))


def test_the_bottleneck_has_the_largest_share(record: dict[str, Any]) -> None:
    once = record["once_seconds"]
    seconds = {"survey": once["hash"] + once["survey"], "finish": once["finish"]}
    seconds["start"] = sum(once.values()) - sum(seconds.values())
    for stage in record["stages"]:
        taken = record["passes_seconds"].get(stage["in_pass"], 0.0) * stage["share_of_pass_percent"] / 100
        seconds[stage["name"]] = seconds.get(stage["name"], 0.0) + taken
    found = record["bottleneck"]
    assert found["stage"] == max(seconds, key=lambda name: seconds[name])
    assert found["share_of_run_percent"] == pytest.approx(100 * max(seconds.values()) / record["predicted_seconds"])


def test_each_stage_says_which_tiles_it_counts(record: dict[str, Any]) -> None:
    tiles = {stage["in_pass"]: (stage["tile_px"], stage["tile_um"]) for stage in record["stages"]}
    assert tiles["measure"] == tiles["survey"] == (256, [64.0, 64.0])
    if NETWORKS:
        manifest = record["networks"]["classifier"]
        side = manifest["tile_px"] * manifest["mpp"]
        assert tiles["classify"] == (manifest["tile_px"], pytest.approx([side, side]))


def test_networks_that_are_missing_are_named(record: dict[str, Any]) -> None:
    if NETWORKS:
        assert record["missing_networks"] == []
        return
    (sentence,) = record["missing_networks"]
    assert "torch" in sentence
    assert "pip install" in sentence


def test_ceilings_are_known_where_they_can_be(record: dict[str, Any]) -> None:
    ceilings = {stage["name"]: stage["ceiling_tiles_per_s_per_core"] for stage in record["stages"]}
    assert ceilings["cells"] is None
    known = {"survey", "read", "write", *(["read for classifier", "classifier"] if NETWORKS else [])}
    assert {name for name in known if not ceilings[name]} == set()


def test_both_sides_of_a_comparison(record: dict[str, Any]) -> None:
    (side,) = record["compared"]
    assert side["name"] == "openslide"
    assert len(side["ours_seconds"]) == len(side["theirs_seconds"]) == 2
    assert side["ours_tiles"] == side["theirs_tiles"] > 0
    turns = [theirs / ours for ours, theirs in zip(side["ours_seconds"], side["theirs_seconds"], strict=True)]
    assert side["ratio"] == pytest.approx(sum(turns) / 2)
    assert set(side["theirs_versions"]) == {"openslide", "openslide-python"}


def test_people_get_a_table(samples: Path, wsi_her2: Cli, tmp_path: Path) -> None:
    words = ("bench", samples / "phantom_ultralow.svs", "--seconds", 0, "--set", "engine.executor=serial")
    shown = wsi_her2(*words, "--compare", "tiffslide", "--repeats", 1, out=tmp_path, folder=tmp_path)
    assert (shown.code, shown.stderr) == (0, "")
    for some in (
        "tissue tiles in",
        "256 px, 64 um",
        "predicted",
        "bottleneck: ",
        "beside tiffslide",
        "serial, 1 worker,",
    ):
        assert some in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_slide_with_a_damaged_tile_has_no_ceiling_of_reading(samples: Path, wsi_her2: Cli, tmp_path: Path) -> None:
    import tifffile  # noqa: PLC0415

    slide = tmp_path / "damaged.svs"
    slide.write_bytes((samples / "phantom_3plus.svs").read_bytes())
    with tifffile.TiffFile(slide) as tiff:
        middle = len(tiff.pages[0].dataoffsets) // 2 + 5
        place, count = tiff.pages[0].dataoffsets[middle], tiff.pages[0].databytecounts[middle]
    with slide.open("r+b") as file:
        file.seek(place)
        file.write(bytes(count))
    words = ("--seconds", 0, "--set", "engine.executor=serial", "--evidence", "cells", "--json")
    shown = wsi_her2("bench", slide, *words, out=tmp_path, folder=tmp_path)
    assert shown.code == 0, shown.stderr
    (read,) = (stage for stage in json.loads(shown.stdout)["stages"] if stage["name"] == "read")
    assert read["ceiling_tiles_per_s_per_core"] is None
    assert "cannot be decoded" in read["ceiling"]


@pytest.fixture
def bad_slides(tmp_path: Path) -> dict[str, Path]:
    """Return slides that cannot be measured."""
    found = {name: tmp_path / f"{name}.png" for name in ("missing", "corrupt", "glass")}
    found["corrupt"].write_bytes(b"\x89PNG\r\n\x1a\n and nothing that follows")
    cv2.imwrite(str(found["glass"]), np.full((901, 1303, 3), 240, np.uint8))
    return found


@pytest.mark.parametrize("name", ["missing", "corrupt", "glass"])
def test_a_bad_slide_ends_in_one_sentence_and_as_a_run_does(
    name: str, bad_slides: dict[str, Path], wsi_her2: Cli, score: Cli, tmp_path: Path
) -> None:
    (tmp_path / "bench").mkdir()
    words = ("--assume-mpp", 0.25)
    shown = wsi_her2("bench", bad_slides[name], *words, "--folder", tmp_path / "bench", "--json", out=tmp_path)
    assert_one_sentence(shown, score(bad_slides[name], tmp_path / "run", *words).code, f"{name}.png")
    assert list((tmp_path / "bench").iterdir()) == []


def assert_one_sentence(shown: Outcome, code: int, *words: str) -> None:
    """Check that a command failed with this code and one line that holds these words."""
    assert (shown.code, shown.stdout) == (code, ""), shown.stderr
    assert shown.stderr.startswith("wsi-her2: ")
    assert shown.stderr.count("\n") == 1
    assert all(word in shown.stderr for word in words), shown.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--compare", "wsinfer"), "wsinfer is not installed in"),
        (("--compare", "tiatoolbox", "--peer-python", "wsinfer=x"), "tiatoolbox is not installed in"),
        (("--compare", "wsinfer", "--peer-python", "/no/python"), "/no/python: cannot be run"),
        (("--compare", "wsinfer", "--peer-python", "wsinfer=no/python"), "no/python: cannot be run"),
        (("--compare", "wsinfer", "--peer-python", "winfer=python"), "'winfer' is no peer"),
        (("--compare", "libvips"), "libvips"),
        (("--folder", "no/folder"), "no/folder: is not a folder"),
        (("--regions", "1"), "--regions"),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(
    words: tuple[str, ...], said: str, samples: Path, wsi_her2: Cli, tmp_path: Path
) -> None:
    shown = wsi_her2("bench", samples / "phantom_null.svs", *words, out=tmp_path, folder=tmp_path)
    code = 8 if "--folder" in words else 2
    if "not installed" in said or "cannot be run" in said:
        code, said = (code, said) if NETWORKS else (11, "torch, torchvision, safetensors: are not installed")
    assert_one_sentence(shown, code, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not NETWORKS, reason="the extra `models` is not installed")
def test_a_peer_that_fails_is_said(samples: Path, wsi_her2: Cli, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$1" in -c) exit 0;; esac\necho "$2 is broken here" >&2\nexit 7\n')
    python.chmod(0o755)
    words = ("--seconds", 0, "--set", "engine.executor=serial", "--compare", "wsinfer", "--peer-python", python)
    (tmp_path / "bench").mkdir()
    shown = wsi_her2("bench", samples / "phantom_1plus.svs", *words, "--folder", tmp_path / "bench", out=tmp_path)
    assert_one_sentence(shown, 2, "--compare wsinfer: it failed: wsinfer is broken here")
    assert list((tmp_path / "bench").iterdir()) == []


@pytest.mark.parametrize("to_all", [True, False], ids=["to the whole group", "to the command only"])
@pytest.mark.parametrize("moment", ["survey", "maps", "regions"])
def test_ctrl_c_leaves_nothing(
    to_all: bool, moment: str, samples: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("--folder", tmp_path, "--seconds", 600, *SMALL_REGIONS, "--set", "engine.workers=2")
    run = start("bench", samples / "phantom_3plus.svs", *words)
    pattern = {"survey": ".*", "maps": ".*/.*/maps", "regions": ".*/.*/.parts/cells-*.npy"}
    until = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob(pattern[moment])):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)
    family = psutil.Process(run.pid).children(recursive=True)
    if to_all:
        os.killpg(run.pid, signal.SIGINT)
    else:
        run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=40)
    said = own_words(stderr)
    assert (run.returncode, stdout, said) == (130, "", "wsi-her2: interrupted; nothing was kept\n")
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not NETWORKS, reason="the extra `models` is not installed")
@pytest.mark.parametrize("peer", PEERS)
def test_a_real_peer(peer: str, samples: Path, wsi_her2: Cli, tmp_path: Path) -> None:
    python = os.environ.get(PEERS[peer])
    if not python:
        pytest.skip(f"{PEERS[peer]} names no interpreter that has {peer}")
    words = ("--seconds", 0, "--json", "--compare", peer, "--peer-python", f"{peer}={python}", "--repeats", 1)
    slide = samples / "phantom_heterogeneous.svs"
    shown = wsi_her2("bench", slide, *words, out=tmp_path, folder=tmp_path, seconds=400)
    assert shown.code == 0, shown.stderr
    record = json.loads(shown.stdout)
    (side,) = record["compared"]
    assert side["ours_tiles"] == record["work"]["classified_tiles"]
    assert 0 < side["theirs_tiles"] < 3 * side["ours_tiles"]
    assert set(side["theirs_versions"]) == {peer, "torch"}
    assert side["theirs_tiles_per_s_without_start"] > side["theirs_tiles_per_s"]
    assert side["ratio"] == pytest.approx(side["ours_tiles_per_s"] / side["theirs_tiles_per_s"])
    assert list(tmp_path.iterdir()) == []
