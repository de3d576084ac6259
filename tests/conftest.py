"""No test has a time limit, as on a busy machine the slow case is not the wrong one; every test checks array shapes."""

import os
import signal
from pathlib import Path

from hypothesis import settings

import tests.checked_shapes

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A shell lets its background jobs ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """Start a worker more than there are processors: tests that wait for processes of their own leave theirs idle."""
    return (os.cpu_count() or 1) + 1


tests.checked_shapes.check_modules_when_imported(Path(__file__).parents[1])


def pytest_collection_finish() -> None:
    """Check the arrays of all modules that the tests import."""
    tests.checked_shapes.check_imported_modules()
