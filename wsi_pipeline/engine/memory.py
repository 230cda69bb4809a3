"""How much memory this process and its workers may use together, and how many workers fit into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from wsi_pipeline.engine.interface import EngineOptions, Executor, usable_processors

GB = 10**9

USABLE_SHARE = 0.8
"""Of all memory, by default: the system, the disk's cache and other programs have the rest."""

PROCESS_GROUPS, GROUP_MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says in which control groups a process is, and what they are limited to (man 7 cgroups)."""


class Load(NamedTuple):
    """What a run holds at once, bytes: this process; each worker without a region; each region; CUDA in a worker."""

    parent: int
    worker: int
    region: int
    cuda: int = 0

    def whole(self, workers: int, gpus: int = 0, threads: int = 1) -> int:
        """Return what this process, `workers` and the workers of `gpus`, with `threads` each, hold together."""
        return self.parent + workers * (self.worker + self.region) + gpus * self.on_gpu(threads)

    def on_gpu(self, threads: int) -> int:
        """Return what a worker beside a GPU holds, each of its `threads` with a region."""
        return self.worker + self.cuda + threads * self.region


UNKNOWN_LOAD = Load(0, 0, 0)
"""Of callers that give no estimate: all workers that are wanted, and equal parts of the budget."""


class Allotment(NamedTuple):
    """How the budget is shared out, bytes. `workers`: those that fit, at most `wanted`; 0: not even one fits.

    `limit`, `gpu_limit`: resident memory above which an ordinary worker and one beside a GPU are killed. `estimate`: of
    all processes, `held`: of the workers alone.
    """

    wanted: int
    workers: int
    limit: int
    gpu_limit: int
    budget: int
    estimate: int
    held: int

    @classmethod
    def alone(cls, budget: int, estimate: int) -> Allotment:
        """Return what a process has that does all by itself."""
        return cls(1, 1, 0, 0, budget, estimate, 0)

    def describe(self) -> dict[str, Any]:
        """Return what provenance records; nothing without an estimate."""
        if not self.estimate:
            return {}
        whole = {
            "workers_wanted": self.wanted,
            "memory_budget_gb": round(self.budget / GB, 2),
            "memory_estimate_gb": round(self.estimate / GB, 2),
        }
        return whole | ({"memory_per_worker_gb": round(self.limit / GB, 2)} if self.limit else {})


class WorkerLimit(NamedTuple):
    """A worker's own limit, bytes (0: none), and how many regions it takes at once."""

    limit: int
    threads: int

    def holds(self, load: Load) -> bool:
        """Tell whether the worker can hold a region in each of its threads."""
        return not self.limit or load.worker + self.threads * load.region <= self.limit


class LimitedExecutor(Executor, Protocol):
    """An executor that knows what its workers may hold."""

    def limits(self) -> tuple[WorkerLimit, ...]:
        """Return what limits each worker that is there now."""
        ...


def budget_bytes(options: EngineOptions) -> int:
    """Return how many bytes a run may use: what was set, else USABLE_SHARE of what there is."""
    if options.memory_gb is not None:
        return round(options.memory_gb * GB)
    return int(USABLE_SHARE * usable_bytes())


def usable_bytes() -> int:
    """Return the memory that this process may use: the machine's, or less where a control group limits it."""
    return min([machine_bytes(), *group_limits(PROCESS_GROUPS, GROUP_MOUNT)])


def machine_bytes() -> int:
    """Return the machine's memory."""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    from distributed.system import MEMORY_LIMIT  # noqa: PLC0415 - dask is heavy, and only Windows does not tell

    return int(MEMORY_LIMIT)


def group_limits(groups: Path, mount: Path) -> list[int]:
    """Return the memory limits, bytes, of the control groups (version 1 or 2) that `groups` names, and of those above.

    A group that cannot be seen, as from inside a container, is passed over; the container's own is at `mount` itself.
    """
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [limit for line in lines for file in _limit_files(line, mount) if (limit := _number_in(file)) is not None]


def _limit_files(line: str, mount: Path) -> Iterator[Path]:
    """Yield the files that may limit the group in a line "number:controllers:/path", from the group upwards."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    if "memory" in controllers.split(","):
        root, name = mount / "memory", "memory.limit_in_bytes"
    elif not controllers:
        root, name = mount, "memory.max"
    else:
        return
    inside = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath()
    for folder in (inside, *inside.parents):
        yield root / folder / name


def _number_in(file: Path) -> int | None:
    """Return the number of bytes in a file, None where there is none, such as the word "max"."""
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def wanted_workers(options: EngineOptions, gpus: int) -> int:
    """Return how many ordinary workers a run would have: by default one per processor that no GPU's thread needs."""
    return options.workers or max(usable_processors() - gpus * options.device_threads, 1)


def allot(options: EngineOptions, gpus: int, load: Load) -> Allotment:
    """Share the budget out for a run of this `load`: to this process, one worker per GPU, and as many others as fit.

    What nobody needs is divided among the workers, so that one that needs more than was foreseen is not killed at once.
    """
    budget, wanted, threads = budget_bytes(options), wanted_workers(options, gpus), options.device_threads
    spare = budget - load.whole(0, gpus, threads)
    each = max(load.worker + load.region, 1)
    workers = min(wanted, max(spare // each, 0))
    if not workers:
        return Allotment(wanted, 0, 0, 0, budget, load.whole(1, gpus, threads), 0)
    extra = (spare - workers * each) // (workers + gpus)
    estimate = load.whole(workers, gpus, threads)
    return Allotment(
        wanted, workers, each + extra, load.on_gpu(threads) + extra, budget, estimate, estimate - load.parent
    )
