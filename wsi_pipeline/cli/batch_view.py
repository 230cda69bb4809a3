"""How a batch looks while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wsi_pipeline.flows.batch_rows import SlideRow

LAST_ROWS = 12
"""Slides that ended last, shown in the live table."""

STYLES = {"scored": "green", "not evaluable": "yellow"}
"""Colour of a status; all others are red."""


class Lines:
    """Counts what ends, guesses the time left, and prints a line per slide."""

    def __init__(self, total: int, console: Console) -> None:
        """Begin a batch of `total` slides."""
        self.console = console
        self.total = total
        self.counts: Counter[str] = Counter()
        self.at_work: dict[str, tuple[str, int, int]] = {}
        """Slide -> stage, what is done of it and what there is to do."""
        self._fresh = 0
        self._began = time.monotonic()
        self._said: set[str] = set()

    @property
    def ended(self) -> int:
        """How many slides are done."""
        return sum(self.counts.values())

    def begin(self, slide: str) -> None:
        """Note whose turn has come."""
        self.at_work[slide] = ("reading", 0, 0)

    def progress(self, slide: str, stage: str, done: int, total: int) -> None:
        """Note how far a stage of a slide has come."""
        self.at_work[slide] = (stage, done, total)

    def say(self, line: str) -> None:
        """Print a line, but not for every slide again."""
        if line not in self._said:
            self._said.add(line)
            self.print(line)

    def end(self, row: SlideRow, *, fresh: bool) -> None:
        """Print how a slide ended."""
        self._count(row, fresh=fresh)
        took = f" ({row.seconds:.1f} s)" if fresh and row.seconds is not None else " (done before)"
        left = f"; {self.total - self.ended} left{self.time_left()}" if self.ended < self.total else ""
        self.print(f"[{self.ended}/{self.total}] {row.slide}: {_words(row)}{took}{left}")

    def _count(self, row: SlideRow, *, fresh: bool) -> None:
        """Note that a slide is done."""
        self.at_work.pop(row.slide, None)
        self.counts[row.status] += 1
        self._fresh += fresh

    def print(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def time_left(self) -> str:
        """Return words for the time that the slides to come will take, as those of this batch took."""
        if not self._fresh:
            return ""
        seconds = (time.monotonic() - self._began) / self._fresh * (self.total - self.ended)
        hours, minutes = divmod(round(seconds / 60), 60)
        return f", about {f'{hours} h {minutes} min' if hours else f'{minutes} min' if minutes else 'a minute'}"


class LiveTable(Lines):
    """Draws the slides that ended last, those at work, and a bar over all."""

    def __init__(self, total: int, console: Console) -> None:
        """Begin a batch of `total` slides."""
        super().__init__(total, console)
        self._last: deque[SlideRow] = deque(maxlen=LAST_ROWS)

    def end(self, row: SlideRow, *, fresh: bool) -> None:
        """Note how a slide ended; what needs attention stays on the screen as a line."""
        self._count(row, fresh=fresh)
        self._last.append(row)
        if not row.is_good:
            self.print(f"{row.slide}: {_words(row)}")

    def __rich__(self) -> Group:
        """Return the table as it is now."""
        table = Table("slide", "status", "score", "category", "s", expand=True)
        for row in self._last:
            status = Text(row.status, STYLES.get(row.status, "red"))
            table.add_row(
                Text(row.slide, no_wrap=True, overflow="ellipsis"), status, row.score, row.category,
                "" if row.seconds is None else f"{row.seconds:.1f}",
            )  # fmt: skip
        now = [
            Text(f"{slide}: {stage}{f' {done}/{total}' if total else ''}", no_wrap=True, overflow="ellipsis")
            for slide, (stage, done, total) in list(self.at_work.items())
        ]
        told = ", ".join(f"{number} {status}" for status, number in sorted(self.counts.items()))
        bar = ProgressBar(total=max(self.total, 1), completed=self.ended)
        over = Text(f"{self.ended} of {self.total} slides{self.time_left()} {f'({told})' if told else ''}")
        return Group(table, *now, bar, over)


def _words(row: SlideRow) -> str:
    """Return how a slide ended in words."""
    if row.status == "scored":
        border = ", borderline" if row.borderline else ""
        virtual = "; research use only, inferred from H&E" if row.virtual_stain else ""
        return f"scored {row.score} ({row.category}{border}{virtual})"
    return f"{row.status}: {row.message}"


@contextmanager
def batch_view(total: int) -> Iterator[Lines]:
    """Yield what shows a batch of `total` slides on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(total, console)
        return
    view = LiveTable(total, console)
    with Live(view, console=console, refresh_per_second=4, transient=True):
        yield view
