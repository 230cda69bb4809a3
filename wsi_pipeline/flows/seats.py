"""Slides that are at work at once in one process, and what each of them holds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition
from typing import NamedTuple

from wsi_pipeline.errors import StoppedError
from wsi_pipeline.flows.memory import Need

LOOK_SECONDS = 0.5
"""How long a slide waits for another one to leave before it looks again."""


class Seat(NamedTuple):
    """What a slide holds in this process, bytes; `busy`: it will leave without having to wait for workers."""

    held: int
    busy: bool


class Seats:
    """The slides at work; threads of a batch take and leave seats."""

    def __init__(self) -> None:
        """Seat nobody yet."""
        self._seats: dict[Path, Seat] = {}
        self._changed = Condition()
        self._stopped = False

    @contextmanager
    def taken(self, need: Need, fits: Callable[[int], bool]) -> Iterator[None]:
        """Seat a slide as soon as it is alone or can be looked at beside the others.

        `fits` tells whether so many bytes of this process fit. Raises StoppedError.
        """
        with self._changed:
            while self._seats and not fits(need.base + self.held_beside(need.slide) + need.looked_at):
                self.wait()
            self._seats[need.slide] = Seat(need.looked_at, busy=True)
        try:
            yield
        finally:
            with self._changed:
                del self._seats[need.slide]
                self._changed.notify_all()

    def note(self, need: Need, held: int, *, busy: bool) -> None:
        """Note what a slide that has a seat holds from now on."""
        with self._changed:
            if need.slide in self._seats:
                self._seats[need.slide] = Seat(held, busy)
                self._changed.notify_all()

    def held_beside(self, slide: Path) -> int:
        """Return what the other slides hold, bytes."""
        with self._changed:
            return sum(seat.held for other, seat in self._seats.items() if other != slide)

    def wait_for_leaving(self, slide: Path) -> bool:
        """Wait a moment for another slide to leave; False when those that are there wait for workers themselves.

        Raises StoppedError.
        """
        with self._changed:
            if not any(seat.busy for other, seat in self._seats.items() if other != slide):
                return False
            self.wait()
            return True

    def wait(self) -> None:
        """Wait until something changes, not for long. Raises StoppedError."""
        if self._stopped:
            raise StoppedError("the batch", "was stopped", "the same command goes on")
        with self._changed:
            self._changed.wait(LOOK_SECONDS)

    def stop(self) -> None:
        """Let all who wait end with StoppedError."""
        self._stopped = True
