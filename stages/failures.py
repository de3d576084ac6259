"""Which failures are not the code's, and what the user is told of them in one line."""

import errno
import resource

from cache import CacheError
from pipeline.errors import ConcordError, os_error_reason

COMMANDS = {
    "train the variant again": "concord train VARIANT --replace",
    "encode it again": "concord encode SPLIT --replace",
    "repair the cache": "concord cache repair CACHE",
}
"""By the remedy that a message of the library ends in, the command that does it."""

_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "storage size calculation overflowed",
    "failed to map segment",
)
_NO_THREADS = "can't start new thread"


def message_for_user(error: Exception) -> str | None:
    """What to tell of a user's mistake or of a machine that refuses; None for an error of this code."""
    if isinstance(error, ConcordError | CacheError):
        return _with_commands(str(error))
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os_error_reason(error)}"
    return _of_memory(error)


def _with_commands(message: str) -> str:
    for remedy, command in COMMANDS.items():
        message = message.replace(remedy, f"{remedy} (`{command}`)")
    return message


def _of_memory(error: Exception) -> str | None:
    reason = " ".join(str(error).split())
    exhausted = isinstance(error, RuntimeError | ImportError) and any(
        words in reason.lower() for words in _OUT_OF_MEMORY
    )
    if (
        isinstance(error, MemoryError)
        or exhausted
        or (isinstance(error, SystemError) and _memory_is_limited())
    ):
        return f"not enough memory ({reason:.200}); close other programs, or choose smaller batches, or fewer latents"
    if isinstance(error, RuntimeError) and _NO_THREADS in reason:
        return f"the system starts no more threads ({reason:.200}); raise the limit (`{_limit_of_threads()}`)"
    return None


def _limit_of_threads() -> str:
    """The limit that keeps threads from starting: of memory, of which each takes its stack, or of their number."""
    return "ulimit -v" if _memory_is_limited() else "ulimit -u"


def _memory_is_limited() -> bool:
    """Whether this process may take some memory only, so that Python's own modules fail where they ask for more."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
