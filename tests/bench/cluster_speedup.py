"""Print how much quicker two worker processes on a dask scheduler score a slide than one, and that nothing differs.

Usage: python tests/bench/cluster_speedup.py [--side 8192] [--rounds 3] [--threads 1]

One and two workers take turns. Beside the clock stands how much of a processor's time each worker thread got, since on
a machine that others use the clock says little. Only the seconds of the regions count; the run's own work before and
after them is printed beside.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
from large_slide import make_large_slide

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


class Round(NamedTuple):
    """Seconds of the regions and of all else, and the processor's seconds that the workers used."""

    regions: float
    rest: float
    worked: float


@contextmanager
def cluster(workers: int, threads: int, folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Yield the address of a scheduler and its workers, each a process."""
    dask, listen = [sys.executable, "-m", "dask"], ["--host", "127.0.0.1", "--no-dashboard"]
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    words = [[*dask, "scheduler", *listen, "--port", "0", "--scheduler-file", str(file)]]
    join = ["--scheduler-file", str(file), "--nthreads", str(threads), "--no-nanny"]
    words += [[*dask, "worker", *listen, *join] for _ in range(workers)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": ENVIRONMENT, "cwd": folder}
    started = []
    try:
        for command in words:
            started.append(subprocess.Popen(command, **quiet))
            while not file.exists():
                time.sleep(0.1)
        yield json.loads(file.read_text())["address"], [psutil.Process(process.pid) for process in started[1:]]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def worked(workers: list[psutil.Process]) -> float:
    """Return the processor's seconds that the workers have used."""
    return sum(times.user + times.system for times in (worker.cpu_times() for worker in workers))


def score(slide: Path, out: Path, workers: int, threads: int) -> Round:
    """Score the slide on so many workers, which have scored it once before."""
    with cluster(workers, threads, out.parent) as (address, processes):
        command = [sys.executable, "-m", "wsi_pipeline.cli.main", "run", str(slide), "--scheduler", address, "-o"]
        subprocess.run([*command, str(out / "warm")], check=True, capture_output=True, env=ENVIRONMENT)
        before = worked(processes)
        start = time.monotonic()
        subprocess.run([*command, str(out / "run")], check=True, capture_output=True, env=ENVIRONMENT)
        seconds = time.monotonic() - start
        used = worked(processes) - before
    record = json.loads((out / "run" / "result.json").read_text())["provenance"]
    if record["engine"]["workers"] != workers:
        raise SystemExit(f"{record['engine']['workers']} workers were there, not {workers}")
    regions = record["seconds"]["regions"]
    return Round(regions, seconds - regions, used)


def main() -> None:
    """Make the slide, let one and two workers take turns, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=8192, help="of the slide, px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    chosen = parser.parse_args()
    found: dict[int, list[Round]] = {1: [], 2: []}
    print("workers  regions s  rest s  processor s of the workers  share of a processor per worker")
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "large.svs"
        make_large_slide(slide, chosen.side)
        tables = set()
        for number in range(chosen.rounds):
            for workers, rounds in found.items():
                out = Path(folder) / f"{number}-{workers}"
                rounds.append(score(slide, out, workers, chosen.threads))
                tables.add((out / "run" / "cells.geojson.gz").read_bytes())
                one = rounds[-1]
                share = one.worked / one.regions / workers
                print(f"{workers:7d} {one.regions:10.1f} {one.rest:7.1f} {one.worked:27.1f} {share:32.0%}", flush=True)
    by_clock, by_work = (
        [median(getattr(one, name) for one in rounds) for rounds in found.values()] for name in ("regions", "worked")
    )
    print(f"speed-up of the regions from one to two workers, by the clock: {by_clock[0] / by_clock[1]:.2f}")
    print(f"processor's time of two workers over that of one: {by_work[1] / by_work[0]:.2f}")
    print(f"cells alike in all runs: {'yes' if len(tables) == 1 else 'NO'}")


if __name__ == "__main__":
    main()
