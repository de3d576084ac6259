"""Prefetching: results computed before their use on background threads, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


def prefetched(
    function: Callable[[Part], Result], parts: Iterable[Part], depth: int, workers: int = 1
) -> Iterator[Result]:
    """Yield `function(part)` for every part in order, computing up to `depth` results before they are asked for.

    At most `depth + 1` results exist at a time. An error in a thread is raised here, where its result would
    have been. Leaving the iterator early waits for what the `workers` threads are computing.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="cache-prefetch") as executor:
        pending: deque[Future[Result]] = deque()
        try:
            for part in parts:
                pending.append(executor.submit(function, part))
                if len(pending) > depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
