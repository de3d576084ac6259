"""What a machine that refuses is told as: one line, with the limit that is to be raised."""

import errno
import resource

import pytest

from cache.errors import reason_and_file
from stages.failures import message_for_user


@pytest.mark.parametrize(
    ("error", "limited", "told"),
    [
        (RuntimeError("can't start new thread"), True, "raise the limit (`ulimit -v`)"),
        (RuntimeError("can't start new thread"), False, "raise the limit (`ulimit -u`)"),
        (
            ImportError("libtorch_cuda.so: failed to map segment from shared object"),
            True,
            "not enough memory",
        ),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), False, "not enough memory"),
        (SystemError("error return without exception set"), True, "not enough memory"),
        (SystemError("error return without exception set"), False, None),
        (ImportError("No module named x"), True, None),
    ],
)
def test_a_limit_of_memory_is_told_as_one_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, error: Exception, limited: bool, told: str | None
) -> None:
    bytes_ = 1 << 30 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (bytes_, bytes_))
    message = message_for_user(error)
    assert message is None if told is None else told in str(message)


def test_too_few_handles_have_their_limit_named() -> None:
    error = OSError(errno.EMFILE, "Too many open files", "a/b")
    assert reason_and_file(error) == "Too many open files (raise the limit, `ulimit -n`): a/b"
