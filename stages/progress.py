"""The one look of every progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from stages.terminal import Terminal

Advance = Callable[[int, int], None]
"""Receives (items done, items in all)."""


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Advance]:
    """Show a bar with the count, the rate and the time left, on standard error, while the block runs.

    Args:
        title: What is being done.
        unit: What is counted, in the plural.
    """
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} · {task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Terminal(stderr=True)) as progress:
        task = progress.add_task(title, total=None, unit=unit, rate="")

        def advance(done: int, total: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, completed=done, total=total, rate="" if speed is None else f"{speed:.0f}/s")

        yield advance


def note(text: str) -> None:
    """Say on standard error how a stage went."""
    Terminal(stderr=True).print(text, style="dim")
