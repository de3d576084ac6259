import copy
import threading

import dask
import numpy as np

from cache.operations.tasks import computed


def test_results_come_in_order_and_no_more_than_asked_for_are_made_ahead():
    made = []

    def square(number):
        made.append(number)
        return number**2

    results = computed(square, range(7), together=3)
    for number, result in enumerate(results):
        assert result == number**2
        assert len(made) <= 3 * (number // 3 + 1)


def test_tasks_run_where_dask_is_told_to():
    with dask.config.set(scheduler="synchronous"):
        assert set(computed(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}
    assert threading.get_ident() not in computed(lambda _: threading.get_ident(), range(3))


def test_a_cache_can_be_handed_to_another_process(cache):
    reduced, arguments = cache.__reduce__()
    with reduced(*arguments) as same, copy.copy(cache) as another:
        for one in (same, another):
            assert one.read_pairs(np.arange(13)).vision_tokens.equal(
                cache.read_pairs(np.arange(13)).vision_tokens
            )
