"""Independent tasks, done by the threads of an executor and by the thread that waits for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

Task = Callable[[], None]
"""Some of the work of a read, for any thread."""


def run_together(executor: Executor, tasks: Sequence[Task]) -> None:
    """Run every task once; return when none is running any more.

    The calling thread takes tasks from the end that no thread of the executor has begun, so it never waits idly.

    Raises:
        Exception: that of the first task, in their order, that failed; tasks not begun by then are left out.
    """
    errors = _run(executor, tasks)
    try:
        if errors:
            raise errors[min(errors)]
    finally:
        errors.clear()  # an error that holds the frame that holds it would keep all that its frames hold, locks too


def _run(executor: Executor, tasks: Sequence[Task]) -> dict[int, BaseException]:
    """Run the tasks; returns what failed, by number of the task."""
    futures = [executor.submit(task) for task in tasks]
    errors: dict[int, BaseException] = {}
    for number in reversed(range(len(tasks))):
        if futures[number].cancel() and not errors:
            try:
                tasks[number]()
            except Exception as error:
                errors[number] = error
    for number, future in enumerate(futures):
        failure = None if future.cancelled() else future.exception()
        if failure is not None:
            errors[number] = failure
    return errors
