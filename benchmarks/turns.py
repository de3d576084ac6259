"""Timing work that occupies a whole process, at one speed of the machine.

A machine that others share keeps its speed for some ten seconds. Work that takes longer is therefore cut into turns:
each candidate has a process of its own, and while one of them runs the others are stopped. So they meet the same
machine, and each is charged only for the time in which it ran.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

TURN_SECONDS = 2.0
"""Stopping and resuming a process of several threads costs it some 5 ms: turns of a quarter of a second made encoding
1.6 % slower than these."""

Work = Callable[[], object]


def in_turns(
    candidates: Mapping[str, Callable[[], Work]], rounds: int, turn_seconds: float = TURN_SECONDS
) -> dict[str, list[float]]:
    """Seconds that each candidate ran in each round.

    Args:
        candidates: by name what prepares, in a process of its own and untimed, the work that is done in every round;
            it can be pickled.
        rounds: how many times the work is done.
        turn_seconds: how long one runs before the next does.

    Raises:
        ChildProcessError: a candidate failed; its process has printed why.
    """
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(prepare)) for name, prepare in candidates.items()}
        for _ in range(rounds):
            for name, seconds in _round(workers, turn_seconds).items():
                taken[name].append(seconds)
    return taken


def _round(workers: Mapping[str, "_Worker"], turn_seconds: float) -> dict[str, float]:
    taken = dict.fromkeys(workers, 0.0)
    for worker in workers.values():
        worker.stop()
        worker.ask()
    waiting = dict(workers)
    while waiting:
        for name, worker in list(waiting.items()):
            started = time.perf_counter()
            worker.resume()
            if worker.is_done_within(turn_seconds):
                del waiting[name]
            else:
                worker.stop()
            taken[name] += time.perf_counter() - started
    return taken


class _Worker:
    """A process that does its work whenever it is asked to, and that can be stopped meanwhile."""

    def __init__(self, process_id: int, connection: Connection) -> None:
        self._process_id = process_id
        self._connection = connection

    def ask(self) -> None:
        self._connection.send(None)

    def stop(self) -> None:
        os.kill(self._process_id, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process_id, signal.SIGCONT)

    def is_done_within(self, seconds: float | None) -> bool:
        """Whether what it was asked for is done before so much time has passed; None waits for it."""
        if not self._connection.poll(seconds):
            return False
        try:
            self._connection.recv()
        except EOFError:
            raise ChildProcessError("a candidate failed; its own error is above") from None
        return True


@contextmanager
def _worker(prepare: Callable[[], Work]) -> Iterator[_Worker]:
    """A worker that has prepared its work; its process ends with the context."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(prepare, theirs))
    process.start()
    theirs.close()
    try:
        assert process.pid is not None  # as of a process that has not started; 0 would stop this one
        worker = _Worker(process.pid, ours)
        worker.is_done_within(None)
        yield worker
    finally:
        process.kill()  # which even a stopped process heeds
        process.join()


def _serve(prepare: Callable[[], Work], connection: Connection) -> None:
    work = prepare()
    while True:
        connection.send(None)
        connection.recv()
        work()
