"""The one look of progress: a bar on a terminal, elsewhere a line a minute."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.progress import Advance
from stages.terminal import Terminal

SECONDS_BETWEEN_LINES = 60
"""Where nobody watches a terminal: in the log of a job, or of DVC in a pipe."""


Clock = Callable[[], float]
"""Tells the time in seconds."""


@contextmanager
def progress_bar(title: str, unit: str, clock: Clock = time.monotonic) -> Iterator[Advance]:
    """`progress_bars` of one part."""
    with progress_bars((title, unit), clock=clock) as (advance,):
        yield advance


@contextmanager
def progress_bars(*parts: tuple[str, str], clock: Clock = time.monotonic) -> Iterator[Sequence[Advance]]:
    """Show on standard error how far the block is: the count, the rate and the time left of every part of the work.

    On a terminal that is a bar for each. Elsewhere it is a line at the first sign of progress after every minute, and
    one at the end of a part.

    Args:
        parts: What is done, and what is counted, in the plural.
        clock: Measures the minutes.
    """
    console = Terminal(stderr=True)
    if console.is_terminal:
        with _bars(console) as progress:
            yield [_advance_bar(progress, title, unit) for title, unit in parts]
    else:
        lines = [_Lines(console, title, unit, clock) for title, unit in parts]
        try:
            yield [one.advance for one in lines]
        finally:
            for one in lines:
                one.end()


def _bars(console: Terminal) -> Progress:
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} · {task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


def _advance_bar(progress: Progress, title: str, unit: str) -> Advance:
    task = progress.add_task(title, total=None, unit=unit, rate="")

    def advance(done: int, total: int) -> None:
        speed = progress.tasks[task].speed
        progress.update(task, completed=done, total=total, rate="" if speed is None else f"{speed:.0f}/s")

    return advance


class _Lines:
    """One part of the work in a log."""

    def __init__(self, console: Terminal, title: str, unit: str, clock: Clock) -> None:
        self._console, self._title, self._unit, self._clock = console, title, unit, clock
        self._started = self._printed = clock()
        self._first: tuple[float, int] | None = None
        self._done = self._total = 0

    def advance(self, done: int, total: int) -> None:
        """Print a line if the last one is a minute old."""
        now, self._done, self._total = self._clock(), done, total
        # An interrupted run goes on from where it was: what was done before took no time now.
        self._first = self._first or (now, done)
        if now - self._printed >= SECONDS_BETWEEN_LINES:
            self._print(now, self._left(now))
        elif done >= total:
            self.end()

    def end(self) -> None:
        """Print the last line, unless nothing was done or it was printed."""
        if self._total:
            self._print(self._clock(), "")
            self._total = 0

    def _left(self, now: float) -> str:
        since, before = self._first or (now, 0)
        if self._done == before:
            return ""
        return f", about {_duration((self._total - self._done) * (now - since) / (self._done - before))} left"

    def _print(self, now: float, left: str) -> None:
        self._printed = now
        count = f"{self._done} of {self._total} {self._unit}"
        self._console.print(f"{self._title}: {count} in {_duration(now - self._started)}{left}")


def _duration(seconds: float) -> str:
    """As minutes and seconds, with hours if there are any: 1:05, 2:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def note(text: str) -> None:
    """Say on standard error how a stage went."""
    Terminal(stderr=True).print(text, style="dim")
