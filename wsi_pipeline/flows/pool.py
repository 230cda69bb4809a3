"""Who does the work: an executor for one run, or one for all runs of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from threading import Lock
from typing import Protocol

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.errors import ClusterError, StoppedError


class Pool(Protocol):
    """Lends executors."""

    @property
    def resumes(self) -> bool:
        """Whether outcomes are kept, so that a later run can take them up."""
        ...

    def lend(self, gpus: tuple[int, ...]) -> AbstractContextManager[Executor]:
        """Lend an executor for the passes of one slide, whose networks run on `gpus`. Raises ClusterError."""
        ...


class OnePool:
    """An executor for one run, made when its regions begin and closed when they are done."""

    resumes = False

    def __init__(self, settings: Settings, scheduler: str | None) -> None:
        """Make nothing yet."""
        self._settings = settings
        self._scheduler = scheduler

    @contextmanager
    def lend(self, gpus: tuple[int, ...]) -> Iterator[Executor]:
        """Make an executor, and close it afterwards."""
        with closing(make_executor(self._settings.engine, self._scheduler, gpus)) as executor:
            yield executor


class SharedPool(OnePool):
    """One executor for all slides of a batch, made for the first one that needs it and lent to one at a time.

    Threads may ask for it at once: whoever has to wait gets it when the regions of the slide before are done.
    """

    resumes = True

    def __init__(self, settings: Settings, scheduler: str | None, gpus: tuple[int, ...]) -> None:
        """Make nothing yet; `gpus`: those that any slide of the batch may need."""
        super().__init__(settings, scheduler)
        self._gpus = gpus
        self._executor: Executor | None = None
        self._turn = Lock()
        self._stopped = False
        self.broken = False
        """Whether no executor can be had any more, which is no slide's fault."""

    @contextmanager
    def lend(self, gpus: tuple[int, ...]) -> Iterator[Executor]:  # noqa: ARG002 - it has those of all slides
        """Lend the executor; one whose cluster was lost is replaced when the next slide asks.

        Raises ClusterError, StoppedError.
        """
        with self._turn:
            if self._executor is None and not self._stopped:
                self.broken = True
                self._executor = make_executor(self._settings.engine, self._scheduler, self._gpus)
                self.broken = False
            if self._executor is None or self._stopped:
                raise StoppedError("the batch", "was stopped", "the same command goes on")
            try:
                yield self._executor
            except ClusterError:
                self.close()
                raise

    def stop(self) -> None:
        """Let whoever has the executor, in another thread, end soon with StoppedError; lend it no more."""
        self._stopped = True
        executor = self._executor
        if executor is not None:
            executor.stop()

    def close(self) -> None:
        """Stop the workers, or leave the scheduler."""
        executor, self._executor = self._executor, None
        if executor is not None:
            with suppress(ClusterError):
                executor.close()
