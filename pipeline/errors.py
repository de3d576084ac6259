"""The errors that a user's mistake ends in: one clear message, never a traceback."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_HANDLES = (errno.EMFILE, errno.ENFILE)


class ConcordError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(ConcordError, ValueError):
    """A configuration key or value is wrong."""


class DatasetError(ConcordError, ValueError):
    """A dataset's folder, annotations or images cannot be used."""


class BackboneError(ConcordError, ValueError):
    """A backbone cannot be loaded or does not fit the data."""


class RunError(ConcordError, ValueError):
    """A trained run is missing, unfinished, or does not fit the cache."""


def os_error_reason(error: OSError) -> str:
    """Why the system refused, in one line, and what to do about it where that is known."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    if error.errno in _FULL:
        return f"{reason}; make room and run the same command again"
    if error.errno in _FORBIDDEN:
        return f"{reason}; make it accessible to you, or choose another place"
    if error.errno in _NO_HANDLES:
        return f"{reason}; close other programs or raise the limit (`ulimit -n`)"
    return reason
