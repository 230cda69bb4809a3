"""What memory a slide needs, held against what there is: refusals, and lines on what had to be cut down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.memory import GB, Allotment, Load, WorkerLimit, budget_bytes
from wsi_pipeline.errors import ResourceError
from wsi_pipeline.flows.request import Say

MB = 10**6

SURVEYING = 120 * MB
"""This process when it looks at the slide: Python, numpy, OpenCV, the reader. Seen: 80."""

WORKER = 150 * MB
"""A worker with all that it imports. Seen: 150 with a region of one tile in hand."""


@dataclass(frozen=True)
class Need:
    """What one slide needs, bytes.

    `base`: this process whatever it does; `surveying`, `directing`, `finishing`: the same process in its three phases,
    with what the slide adds; `kept`: what it goes on holding of the survey; `worker`, `region`, `cuda`: see Load;
    `smaller`: tiles per side of smaller regions -> bytes of one.
    """

    slide: Path
    say: Say
    base: int
    surveying: int
    directing: int
    finishing: int
    kept: int
    worker: int
    region: int
    cuda: int
    smaller: tuple[tuple[int, int], ...]

    @property
    def here(self) -> int:
        """This process at its largest."""
        return max(self.surveying, self.directing, self.finishing)

    @property
    def looked_at(self) -> int:
        """What the slide adds to this process while it is looked at."""
        return self.surveying - SURVEYING

    @property
    def share(self) -> int:
        """What the slide adds to this process at its largest."""
        return max(self.looked_at, self.finishing - self.base)

    def load(self, parent: int) -> Load:
        """Return the load of a run whose own process holds `parent` bytes."""
        return Load(parent, self.worker, self.region, self.cuda)

    def least(self, settings: Settings, scheduler: str | None, gpus: int) -> int:
        """Return the least that the slide can be scored with on this machine: one worker, or none."""
        engine = settings.engine
        if scheduler is not None:
            return self.here
        if engine.executor == "serial":
            return max(self.here, self.directing + self.worker - WORKER + self.region + self.cuda)
        return max(self.here, self.load(self.directing).whole(1, gpus, engine.device_threads))

    def refusal(self, settings: Settings, needed: int) -> ResourceError:
        """Return what to raise when the least that is `needed`, bytes, is more than may be used."""
        budget, tiles = budget_bytes(settings.engine), settings.tiling.region_tiles
        remedy = f"allow more with --set engine.memory_gb={needed / GB + 0.05:.1f} where there is that much"
        fitting = [fewer for fewer, region in self.smaller if needed - self.region + region <= budget]
        if fitting:
            remedy += f", or take smaller regions than {tiles} tiles: --set tiling.region_tiles={fitting[0]}"
        problem = (
            f"scoring it needs at least about {needed / GB:.2f} GB of memory, and {budget / GB:.2f} GB may be used"
        )
        return ResourceError(self.slide, problem, remedy)


def require_memory(need: Need, settings: Settings, scheduler: str | None, gpus: int) -> None:
    """Raise ResourceError with both numbers when this machine's part of a run does not fit with a single worker."""
    least = need.least(settings, scheduler, gpus)
    if least > budget_bytes(settings.engine):
        raise need.refusal(settings, least)


def heed_limits(limits: Sequence[WorkerLimit], need: Need) -> None:
    """Say so when some workers limit themselves to less than their regions need.

    Raises ResourceError when all do. A scheduler whose workers are still to come is not judged.
    """
    short = [limit for limit in limits if not limit.holds(need.load(0))]
    if not short:
        return
    largest = max(short)
    wanted = need.worker + largest.threads * need.region
    what = f"a worker with {largest.threads} threads needs about {wanted / GB:.2f} GB of memory for its regions"
    if len(short) == len(limits):
        raise ResourceError(
            need.slide, f"{what}, and the scheduler's workers may use {largest.limit / GB:.2f} GB",
            "start workers with a larger --memory-limit or fewer threads, or take smaller regions: tiling.region_tiles",
        )  # fmt: skip
    need.say(f"memory: {what}, and {len(short)} of the scheduler's {len(limits)} workers may use less")


def fewer(allotment: Allotment) -> str:
    """Return the line that says that fewer workers were started than wanted, or nothing."""
    if allotment.workers == allotment.wanted:
        return ""
    return (
        f"memory: {allotment.workers} of {allotment.wanted} workers were started; with these about "
        f"{allotment.estimate / GB:.2f} GB are needed of the {allotment.budget / GB:.2f} GB that may be used"
    )
