"""Work done ahead: in order, no further than asked for, errors in their place, nothing left running."""

import threading
import time

import pytest

from pipeline.ahead import Ahead


def test_results_come_in_the_order_of_the_items_whichever_is_done_first():
    second_is_done = threading.Event()

    def work(item):
        if item == 0:
            assert second_is_done.wait(timeout=60)
        if item == 1:
            second_is_done.set()
        return item * item

    assert list(Ahead(work, range(5), workers=2, ahead=3)) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_items_are_taken_than_may_be_begun(workers):
    taken = []

    def items():
        for item in range(10):
            taken.append(item)
            yield item

    results = Ahead(str, items(), workers=workers, ahead=4)
    assert taken == [0, 1, 2, 3]
    assert next(results) == "0"
    assert taken == [0, 1, 2, 3, 4]
    assert list(results) == [str(item) for item in range(1, 10)]


def test_an_error_is_raised_where_its_result_would_have_come():
    results = Ahead(lambda item: 1 // item, [1, 0, 2], workers=1, ahead=3)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0


def test_closing_waits_for_the_items_in_work_and_drops_those_behind_them():
    begun, done = [], []

    def work(item):
        begun.append(item)
        time.sleep(0.005)
        done.append(item)

    Ahead(work, range(2000), workers=2, ahead=2000).close()
    assert begun
    assert sorted(begun) == sorted(done)
    assert len(done) < 2000
