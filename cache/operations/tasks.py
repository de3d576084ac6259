"""Work on a whole cache as Dask tasks, a bounded number of them at a time."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from dask.base import compute
from dask.delayed import delayed

Part = TypeVar("Part")
Result = TypeVar("Result")

OnProgress = Callable[[int, int], None]
"""Called with the parts done and the parts in all."""


def computed(
    function: Callable[[Part], Result],
    parts: Iterable[Part],
    together: int | None = None,
) -> Iterator[Result]:
    """`function(part)` for every part in order, `together` of them at a time: so many results are in memory.

    Every part is one `dask.delayed` task. Dask decides where tasks run: on the active `dask.distributed` client if
    there is one, else on the scheduler that its configuration names, else on threads of this process.

    Args:
        function: does not change its argument; other than on threads, it and its argument are pickled.
        parts: what to compute, one task each.
        together: tasks that are handed to Dask at once; two for each processor by default.
    """
    task = delayed(function, pure=False, traverse=False)
    remaining = iter(parts)
    while wave := list(islice(remaining, together or 2 * (os.cpu_count() or 1))):
        yield from compute(*map(task, wave), traverse=False)  # type: ignore[no-untyped-call]
