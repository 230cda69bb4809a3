"""Who does the work: an executor for one run, or one for all runs of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Protocol

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.executors import make_executor
from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.errors import ClusterError


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
    """One executor for all slides of a batch, made for the first one that needs it."""

    resumes = True

    def __init__(self, settings: Settings, scheduler: str | None, gpus: tuple[int, ...]) -> None:
        """Make nothing yet; `gpus`: those that any slide of the batch may need."""
        super().__init__(settings, scheduler)
        self._gpus = gpus
        self._executor: Executor | None = None
        self.broken = False
        """Whether no executor can be had any more, which is no slide's fault."""

    @contextmanager
    def lend(self, gpus: tuple[int, ...]) -> Iterator[Executor]:  # noqa: ARG002 - it has those of all slides
        """Lend the executor; one whose cluster was lost is replaced when the next slide asks."""
        if self._executor is None:
            self.broken = True
            self._executor = make_executor(self._settings.engine, self._scheduler, self._gpus)
            self.broken = False
        try:
            yield self._executor
        except ClusterError:
            self.close()
            raise

    def close(self) -> None:
        """Stop the workers, or leave the scheduler."""
        executor, self._executor = self._executor, None
        if executor is not None:
            with suppress(ClusterError):
                executor.close()
