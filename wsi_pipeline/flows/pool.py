"""Who does the work: an executor for one run, or one for all runs of a batch; never more than the memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from threading import Lock
from typing import Protocol

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.engine.memory import Allotment, LimitedExecutor, WorkerLimit, allot, budget_bytes
from wsi_pipeline.errors import ClusterError, StoppedError
from wsi_pipeline.flows.ahead import work_ahead
from wsi_pipeline.flows.memory import Need, fewer, heed_limits, require_memory
from wsi_pipeline.flows.seats import Seats


class Pool(Protocol):
    """Lends executors."""

    @property
    def resumes(self) -> bool:
        """Whether outcomes are kept, so that a later run can take them up."""
        ...

    def lend(self, gpus: tuple[int, ...], need: Need) -> AbstractContextManager[Executor]:
        """Lend an executor for the passes of one slide, whose networks run on `gpus` and which needs that memory.

        Raises ClusterError, and ResourceError when the memory holds not even one worker.
        """
        ...


class OnePool:
    """An executor for one run, made when its regions begin and closed when they are done."""

    resumes = False

    def __init__(self, settings: Settings, scheduler: str | None) -> None:
        """Make no worker yet, but have what workers import be imported meanwhile."""
        self._settings = settings
        self._scheduler = scheduler
        work_ahead(settings, scheduler)

    @contextmanager
    def lend(self, gpus: tuple[int, ...], need: Need) -> Iterator[Executor]:
        """Make an executor, and close it afterwards."""
        require_memory(need, self._settings, self._scheduler, len(gpus))
        with closing(self._make(gpus, need, self._allot(gpus, need, need.directing))) as executor:
            heed_limits(executor.limits(), need)
            yield executor

    def _allot(self, gpus: tuple[int, ...], need: Need, parent: int) -> Allotment | None:
        """Share the memory out, `parent` bytes of it for this process; None where no worker is started here."""
        engine = self._settings.engine
        if self._scheduler is not None:
            return None
        if engine.executor == "serial":
            return Allotment.alone(budget_bytes(engine), need.least(self._settings, None, len(gpus)))
        allotment = allot(engine, len(gpus), need.load(parent))
        return allotment._replace(estimate=max(allotment.estimate, need.here))

    def _make(self, gpus: tuple[int, ...], need: Need, allotment: Allotment | None) -> LimitedExecutor:
        """Make an executor; say when it has fewer workers than were wanted."""
        if allotment is not None and (line := fewer(allotment)):
            need.say(line)
        return make_executor(self._settings.engine, self._scheduler, gpus, allotment)


class SharedPool(OnePool):
    """One executor for all slides of a batch, made for the first one that needs it and lent to one at a time.

    Threads may ask for it at once: whoever has to wait gets it when the regions of the slide before are done. It is
    made anew when another number of workers fits beside what the slides at work hold in this process.
    """

    resumes = True

    def __init__(self, settings: Settings, scheduler: str | None, gpus: tuple[int, ...]) -> None:
        """Make nothing yet; `gpus`: those that any slide of the batch may need."""
        super().__init__(settings, scheduler)
        self._gpus = gpus
        self._executor: LimitedExecutor | None = None
        self._allotment: Allotment | None = None
        self._turn = Lock()
        self._stopped = False
        self.seats = Seats()
        self.broken = False
        """Whether no executor can be had any more, which is no slide's fault."""

    @contextmanager
    def seat(self, need: Need) -> Iterator[None]:
        """Let a slide begin, when there is memory to look at it beside what the others and the workers hold.

        Raises ResourceError when there would not be, were it alone; StoppedError.
        """
        require_memory(need, self._settings, self._scheduler, len(self._gpus))
        with self.seats.taken(need, self._fits):
            if self._turn.acquire(blocking=False):  # nobody has the workers
                try:
                    if not self._fits(need.base + self.seats.held_beside(need.slide) + need.looked_at):
                        self.close()
                finally:
                    self._turn.release()
            yield

    def _fits(self, held: int) -> bool:
        """Tell whether `held` bytes of this process fit beside the workers that there are."""
        allotment = self._allotment
        return held + (allotment.held if allotment else 0) <= budget_bytes(self._settings.engine)

    @contextmanager
    def lend(self, gpus: tuple[int, ...], need: Need) -> Iterator[Executor]:  # noqa: ARG002 - it has those of all slides
        """Lend the executor; one whose cluster was lost, or that was stopped, is replaced when the next slide asks.

        Raises ClusterError, ResourceError, StoppedError.
        """
        require_memory(need, self._settings, self._scheduler, len(self._gpus))
        self.seats.note(need, need.kept, busy=False)
        with self._turn:
            allotment = self._room_for(need)
            self.seats.note(need, need.share, busy=True)
            if not self._suits(allotment, need):
                self.close()
            if self._executor is None and not self._stopped:
                self.broken = True
                self._executor, self._allotment = self._make(self._gpus, need, allotment), allotment
                self.broken = False
            if self._executor is None or self._stopped:
                raise StoppedError("the batch", "was stopped", "the same command goes on")
            heed_limits(self._executor.limits(), need)
            try:
                yield self._executor
            except (ClusterError, StoppedError):
                self.close()
                raise

    def _suits(self, allotment: Allotment | None, need: Need) -> bool:
        """Tell whether the workers that there are, if any, are as many as fit, and may hold what a slide needs."""
        now = self._allotment
        if now is None or allotment is None:
            return True
        return now.workers == allotment.workers and WorkerLimit(now.limit, 1).holds(need.load(0))

    def _room_for(self, need: Need) -> Allotment | None:
        """Return how many workers fit beside the slides at work; beside this one and another like it, if any do.

        Where none fits beside another slide that is being finished, that is waited for. Raises ResourceError,
        StoppedError.
        """
        while True:
            others = self.seats.held_beside(need.slide)
            for beside in (max(others, need.share), others):
                allotment = self._allot(self._gpus, need, need.base + need.share + beside)
                if allotment is None or allotment.workers:
                    return allotment
            if not self.seats.wait_for_leaving(need.slide):
                break
        allotment = self._allot(self._gpus, need, need.base + need.share)
        if allotment is not None and not allotment.workers:
            raise need.refusal(self._settings, allotment.estimate)
        return allotment

    def stop(self) -> None:
        """Let whoever has the executor, in another thread, end soon with StoppedError; lend it no more."""
        self._stopped = True
        self.seats.stop()
        executor = self._executor
        if executor is not None:
            executor.stop()

    def close(self) -> None:
        """Stop the workers, or leave the scheduler."""
        executor, self._executor = self._executor, None
        self._allotment = None
        if executor is not None:
            with suppress(ClusterError):
                executor.close()
