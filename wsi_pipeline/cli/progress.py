"""A progress bar on stderr with the time left, and lines above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Draws the progress of a run, and says what it decided."""

    def __init__(self, bar: Progress) -> None:
        """Draw on `bar`."""
        self._bar = bar
        self._task = bar.add_task("reading", total=None)

    def show(self, stage: str, done: int, total: int) -> None:
        """Draw how much of a stage is done."""
        self._bar.update(self._task, description=stage, completed=done, total=total)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def reporter() -> Iterator[Reporter]:
    """Yield what draws the bar and prints lines on stderr; no bar is drawn where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Reporter(bar)
