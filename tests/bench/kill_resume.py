"""Kill a small batch at random moments, run it again, and hold the results against those of a batch nobody killed.

    python tests/bench/kill_resume.py --kills 200

Each round starts `wsi-her2 batch` on a fresh folder, kills its whole process group (`kill -9`) at a random moment, runs
the same command to its end, and holds every file against an uninterrupted batch. It counts the regions whose outcome
was on disk when the blow came, and how many of those were not taken up: none may be. Regions that were measured but
not yet written down are counted too: there can be no more of them than workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES = ("null", "heterogeneous", "3plus")
PRIVATE = Path(".work", "runs")


@dataclass
class Count:
    """What the rounds showed."""

    rounds: int = 0
    while_running: int = 0
    identical: int = 0
    slides_done: int = 0
    slides_done_again: int = 0
    regions_kept: int = 0
    regions_kept_but_redone: int = 0
    most_in_flight: int = 0
    moments: dict[str, int] = field(default_factory=dict)


def command(slides: Path, out: Path, workers: int) -> list[str]:
    """Return the batch: one region per tile, so that there are many."""
    engine = ["engine.executor=serial"] if workers == 0 else [f"engine.workers={workers}"]
    words = [sys.executable, "-m", "wsi_pipeline.cli.main", "batch", str(slides), "-o", str(out)]
    for setting in ("tiling.region_tiles=1", *engine):
        words += ["--set", setting]
    return words


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start the batch in a process group of its own."""
    own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def run(words: list[str]) -> float:
    """Run the batch to its end and return its seconds."""
    began = time.monotonic()
    code = start(words).wait()
    if code != 0:
        raise SystemExit(f"the batch ended with exit code {code}: {' '.join(words)}")
    return time.monotonic() - began


def contents(out: Path) -> dict[str, Any]:
    """Return the relative path of every file -> its content, less what may differ between two runs of the same work."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_file() or name.startswith(".work/") or name in {"summary.html", "summary.parquet"}:
            continue
        found[name] = path.read_bytes()
        if path.name == "result.json":
            record = json.loads(found[name])
            del record["provenance"]["engine"], record["provenance"]["seconds"]
            found[name] = record
        elif path.suffix == ".qpproj":  # says when it was made
            found[name] = [line for line in found[name].splitlines() if b"Timestamp" not in line]
        elif name == "summary.csv":
            rows = [line.split(",") for line in found[name].decode().splitlines()]
            seconds = rows[0].index("seconds")
            found[name] = [row[:seconds] + row[seconds + 1 :] for row in rows]
    return found


def done_slides(out: Path) -> dict[str, int]:
    """Return run folder -> when its result was written, of the slides that are done."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/result.json")}


def regions_on_disk(out: Path) -> tuple[list[str], int, int]:
    """Return what was going on, how many outcomes are on disk for the rerun, and how many regions were measured beyond.

    A batch has two slides at hand.
    """
    works = [path for path in (out / PRIVATE).glob("*") if path.is_dir()]
    moments, kept, beyond = [], 0, 0
    for work in works:
        outcomes = len(list(work.glob(".parts/journal/process_region/[0-9]*.npz")))
        measured = len(list(work.glob(".parts/cells-??????.npy")))
        if (work / "result.json").exists():  # the rerun needs no region of it
            moments.append("publishing")
            continue
        kept += len(list(work.glob(".parts/journal/*/[0-9]*.npz")))  # with torch, those of the classifier too
        if (work / "tiles.parquet").exists() or (work / "cells.parquet").exists():
            moments.append("writing tables")
            continue
        moments.append("regions" if measured else "before the regions")
        beyond += measured - outcomes
    return moments or ["between slides, or before the first"], kept, beyond


def taken_up(out: Path, done_before: dict[str, int]) -> int:
    """Return how many outcomes the rerun took from the attempt that was killed."""
    engines = [
        json.loads((out / name / "result.json").read_text())["provenance"]["engine"]
        for name in done_slides(out)
        if name not in done_before
    ]
    return sum(engine.get("regions_taken_up", 0) for engine in engines)


def one_round(words: list[str], out: Path, seconds: float, reference: dict[str, Any], count: Count) -> None:
    """Kill a batch `seconds` after its start, run it again, and compare."""
    shutil.rmtree(out, ignore_errors=True)
    process = start(words)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        count.while_running += 1
    os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    process.wait()
    before = done_slides(out)
    moments, kept, beyond = regions_on_disk(out)
    run(words)
    count.rounds += 1
    moment = " + ".join(sorted(moments))
    count.moments[moment] = count.moments.get(moment, 0) + 1
    count.identical += contents(out) == reference
    count.slides_done += len(before)
    after = done_slides(out)
    count.slides_done_again += sum(after[name] != when for name, when in before.items())
    count.regions_kept += kept
    count.regions_kept_but_redone += kept - taken_up(out, before)
    count.most_in_flight = max(count.most_in_flight, beyond)


def main() -> None:
    """Run the rounds and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many rounds")
    parser.add_argument("--workers", type=int, default=2, help="local workers; 0: all in one process")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        slides, out = Path(name, "slides"), Path(name, "results")
        slides.mkdir()
        for sample in SAMPLES:
            shutil.copy(REPOSITORY / "sample_slides" / f"phantom_{sample}.svs", slides)
        words = command(slides, out, options.workers)
        whole = run(words)
        reference = contents(out)
        count = Count()
        for number in range(options.kills):
            one_round(words, out, chance.uniform(0.3, whole), reference, count)
            print(f"{number + 1}: {count}", flush=True)
    print(f"uninterrupted: {whole:.1f} s, {len(reference)} files")
    bad = count.rounds - count.identical + count.slides_done_again + count.regions_kept_but_redone
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
