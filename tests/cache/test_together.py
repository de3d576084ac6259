import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.reading.together import run_together


@given(st.integers(0, 40), st.integers(1, 4))
def test_every_piece_is_run_once(pieces, threads):
    done = []
    with ThreadPoolExecutor(threads) as executor:
        run_together(executor, [lambda number=number: done.append(number) for number in range(pieces)])
    assert sorted(done) == list(range(pieces))


def test_the_caller_does_the_work_that_nobody_else_has_begun():
    release, began = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: (began.set(), release.wait()))
        began.wait()
        threads = []
        run_together(executor, [lambda: threads.append(threading.current_thread())] * 3)
        release.set()
    assert threads == [threading.main_thread()] * 3


@given(st.sets(st.integers(0, 9), min_size=1), st.integers(1, 3))
def test_an_error_is_raised_when_nothing_runs_any_more(failing, threads):
    running = []

    def piece(number):
        running.append(number)
        try:
            if number in failing:
                raise KeyError(number)
        finally:
            running.remove(number)

    with ThreadPoolExecutor(threads) as executor, pytest.raises(KeyError) as error:
        run_together(executor, [lambda number=number: piece(number) for number in range(10)])
    assert error.value.args[0] in failing and not running


def test_an_error_keeps_nothing_alive_of_what_it_came_through():
    class Held:
        """Such as a writer, whose lock is released with it."""

    kept = []

    def reading(executor: ThreadPoolExecutor) -> None:
        held = Held()
        kept.append(weakref.ref(held))
        run_together(executor, [fail, fail, fail])

    def fail() -> None:
        raise OSError("no such disk")

    gc.collect()
    gc.disable()
    try:
        with ThreadPoolExecutor(2) as executor, suppress(OSError):
            reading(executor)
        assert kept[0]() is None
    finally:
        gc.enable()
