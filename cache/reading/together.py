"""Independent pieces of work, done by the threads of an executor and by the thread that waits for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

Piece = Callable[[], None]


def run_together(executor: Executor, pieces: Sequence[Piece]) -> None:
    """Run every piece once; return when none is running any more.

    The calling thread takes pieces from the end that no thread of the executor has begun, so it never waits idly.

    Raises:
        Exception: that of the first piece, in their order, that failed; pieces not begun by then are left out.
    """
    futures = [executor.submit(piece) for piece in pieces]
    errors: dict[int, BaseException] = {}
    for number in reversed(range(len(pieces))):
        if futures[number].cancel() and not errors:
            try:
                pieces[number]()
            except Exception as error:
                errors[number] = error
    for number, future in enumerate(futures):
        failure = None if future.cancelled() else future.exception()
        if failure is not None:
            errors[number] = failure
    if errors:
        raise errors[min(errors)]
