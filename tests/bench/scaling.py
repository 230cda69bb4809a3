"""Simulate an archive on a real dask scheduler: load by number of workers, throughput, and where it stops scaling.

Usage: python tests/bench/scaling.py [--workers 1 4 16 64 128 256] [--seconds 10] [--slides 10000] [--region-tiles 8]

1. Live. A `dask scheduler` in its own process; dask's own workers, many in one process, whose regions sleep as long as
   recorded ones took; the product's executor as client, with task and outcome of the true size. So that two cores can
   play 256 workers, sleeps are stretched to about CALM_RATE regions a second ("calm"); without sleeps the engine hands
   out as much as it can ("flat out"). What counts is the processors' time per region, since the machine is shared.
2. Archive. All slides in virtual time, with the costs of step 1, the recorded seconds, and as many batches as given
   on one scheduler. A batch has two slides at hand: while the regions of one are with the workers, it writes the tables
   and maps of the one before and surveys the one after.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import dask
import numpy as np
import psutil
from archive_model import REGION_S, Costs, archive

from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import EngineOptions
from wsi_pipeline.flows.packed import PackedTask

CALM_RATE = 20.0
"""Regions a second that two cores, which play all parts at once, have time for."""

ROUNDS = 3
"""Measurements flat out; the least seconds count, since other programs on the machine only add to them."""

OUTCOME_SHAPE = (64, 9)
"""Rows and columns of the table that comes back from a region of 8 x 8 tiles."""

QUIET = {"distributed.worker.profile.enabled": False, "distributed.admin.system-monitor.interval": "60s"}
"""What a hundred workers in one process would spend their time on."""


@dataclass(frozen=True)
class Region(PackedTask):
    """What travels to a worker: how long to sleep, s, and masks like a true region's, packed as those are."""

    seconds: float
    allowed: np.ndarray
    piece: np.ndarray


async def region(task: Region) -> np.ndarray:
    """Take the time of a region without taking a processor's."""
    await asyncio.sleep(task.seconds)
    return np.zeros(OUTCOME_SHAPE)


async def play_workers(address: str, count: int) -> None:
    """Be `count` workers of one thread each, until killed."""
    from distributed import Worker  # noqa: PLC0415 - the archive needs no dask

    dask.config.set(QUIET)
    options = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False, "memory_limit": 0}
    workers = [Worker(address, name=f"worker-{number}", **options) for number in range(count)]
    for start in range(0, count, 16):
        await asyncio.gather(*workers[start : start + 16])
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the address and the process of a scheduler that knows this many workers."""
    words = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    started = [subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)]
    try:
        address = next(line.split()[-1] for line in started[0].stderr if "Scheduler at:" in line)
        drain = ["cat"]  # or the scheduler's words fill the pipe
        started.append(subprocess.Popen(drain, stdin=started[0].stderr, stdout=subprocess.DEVNULL))
        play = [sys.executable, __file__, "--play", address, str(workers)]
        started.append(subprocess.Popen(play, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        started[-1].stdout.readline()
        yield address, psutil.Process(started[0].pid)
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def spent(*processes: psutil.Process) -> list[float]:
    """Return the processor's seconds that each process has used."""
    return [times.user + times.system for times in (process.cpu_times() for process in processes)]


class Load:
    """Regions of tiles x tiles without end until `until`, monotonic s; `stretch` 0 makes them take no time."""

    def __init__(self, stretch: float, tiles: int) -> None:
        self.until = float("inf")
        self._stretch = stretch * (tiles / 8) ** 2
        self._side = 32 * tiles  # map px

    def __iter__(self) -> Iterator[Region]:
        rng = np.random.default_rng(5)
        rows, columns = np.indices((self._side, self._side))
        allowed = np.hypot(rows - 0.1 * self._side, columns - 0.3 * self._side) < 0.8 * self._side
        piece = (allowed * (1 + (columns > rows))).astype(np.uint16)
        while time.monotonic() < self.until:
            yield Region(rng.choice(REGION_S) * self._stretch, allowed.copy(), piece.copy())


def run_for(seconds: float, address: str, scheduler: psutil.Process, load: Load, skip: int) -> tuple[float, ...]:
    """Run `load` for `seconds` after `skip` regions; return regions a second, and seconds of scheduler and client."""
    executor = make_executor(EngineOptions(), address)
    processes = (scheduler, psutil.Process())
    first, last = None, None
    try:
        for done, _ in enumerate(executor.run(region, load), start=1):
            if done == skip:
                first = (time.monotonic(), *spent(*processes))
                load.until = first[0] + seconds
            if done > skip and done % 10 == 0 and time.monotonic() < load.until:
                last = (done, time.monotonic(), *spent(*processes))
    finally:
        executor.close()
    if first is None or last is None:
        raise SystemExit("too few regions were done: give more --seconds")
    count = last[0] - skip
    return (count / (last[1] - first[0]), *((b - a) / count for a, b in zip(first[1:], last[2:], strict=True)))


def live(workers: int, seconds: float, tiles: int) -> Costs:
    """Print what a scheduler with this many workers costs, and return the costs flat out."""
    mean = fmean(REGION_S) * (tiles / 8) ** 2
    stretch = max(1.0, workers / mean / CALM_RATE)
    with cluster(workers) as (address, scheduler):
        began, (before,) = time.monotonic(), spent(scheduler)
        time.sleep(min(seconds, 5.0))
        idle = (spent(scheduler)[0] - before) / (time.monotonic() - began)
        calm = run_for(seconds, address, scheduler, Load(stretch, tiles), 2 * workers)
        rounds = [run_for(seconds, address, scheduler, Load(0.0, tiles), 2 * workers) for _ in range(ROUNDS)]
        flat_out = min(rounds, key=lambda run: run[1] + run[2])
    calm_scheduler, busy_scheduler = (max(run[1] - idle / run[0], 0.0) for run in (calm, flat_out))
    costs = Costs(busy_scheduler, flat_out[2], idle)
    wanted = workers / mean
    print(
        f"{workers:7d} {wanted:8.0f} {stretch:8.1f} {calm[0] * stretch / wanted:9.0%} {idle:9.1%} "
        f"{1e3 * calm_scheduler:7.1f} {1e3 * calm[2]:7.1f} {1e3 * costs.scheduler:9.1f} "
        f"{1e3 * costs.client:7.1f} {flat_out[0]:9.0f} {costs.most_per_second:9.0f}",
        flush=True,
    )
    return costs


def archives(measured: dict[int, Costs], slides: int, tiles: int) -> None:
    """Print what an archive of IHC and one of H&E slides take, by workers and batches."""
    for he in (False, True):
        print(f"\n{slides} {'H&E, light networks' if he else 'IHC, cells'}, regions of {tiles} x {tiles} tiles")
        print("workers batches    hours slides/h workers busy  worth scheduler busy")
        for workers, costs in measured.items():
            for batches in (1, 8, 32):
                if batches > max(workers, 1):
                    continue
                hours, busy, load = archive(slides, workers, batches, costs, tiles, he)
                print(
                    f"{workers:7d} {batches:7d} {hours:8.1f} {slides / hours:8.0f} {busy:12.0%} {busy * workers:6.0f} "
                    f"{load:14.0%}",
                    flush=True,
                )


def main() -> None:
    """Measure, then simulate."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 128, 256])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each live measurement")
    parser.add_argument("--slides", type=int, default=10_000)
    parser.add_argument("--region-tiles", type=int, default=8)
    parser.add_argument("--play", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.play:
        asyncio.run(play_workers(chosen.play[0], int(chosen.play[1])))
    print(f"{Path(sys.executable).name}, dask {dask.__version__}, mean region {fmean(REGION_S):.3f} s")
    print("                              calm                                  flat out")
    print("workers wanted/s  stretch   reached      idle sched ms cl ms   sched ms   cl ms  reached/s most/s")
    measured = {workers: live(workers, chosen.seconds, chosen.region_tiles) for workers in chosen.workers}
    archives(measured, chosen.slides, chosen.region_tiles)


if __name__ == "__main__":
    main()
