"""What can be wrong with a cache; every message names the place, the value and the remedy."""

import errno
from typing import NamedTuple

from cache.shown import shown_text


class LostRows(NamedTuple):
    """Rows of a cache's array that could not be read.

    Attributes:
        dimension: what a row is: "image", "caption", "token" or "shard".
        rows: their numbers.
    """

    dimension: str
    rows: range


class CacheError(Exception):
    """Base of every error of the activation cache; the message is written for the user.

    Attributes:
        lost: rows that could not be read, if that is the error.
    """

    lost: LostRows | None = None


class CacheMissingError(CacheError):
    """There is no cache at the given path."""


class CacheFormatError(CacheError):
    """A path, a manifest or array metadata is not what the format prescribes."""


class CacheVersionError(CacheFormatError):
    """A cache has another version of the format than this software reads."""


class CacheIdentityError(CacheError):
    """A cache belongs to another backbone, data set or layout than the one asked for."""


class CacheIncompleteError(CacheError):
    """A cache has shards that are not written yet."""


class CacheLockedError(CacheError):
    """Another process is writing the cache."""


class CacheCorruptError(CacheError):
    """A file of the cache is missing, truncated, or fails its checksum."""


class CacheReplacedError(CacheError):
    """Another cache, or an unfinished one, is now where a reader opened this one."""


class CacheAccessError(CacheError):
    """A file of the cache cannot be read although it may be whole: no permission, a failing disk or server."""


class CacheRemoteError(CacheAccessError):
    """A server failed, stopped in the middle of a file, or cannot send parts of files."""


class DiskSpaceError(CacheError):
    """The disk cannot hold the cache, or ran full while it was written."""


class ShardContentError(CacheError):
    """The activations or samples handed to the writer are not a valid shard."""


def reason(error: OSError) -> str:
    """Why the system refused, and what to do about too few handles."""
    told = error.strerror or " ".join(str(error).split())
    return f"{told} (raise the limit, `ulimit -n`)" if error.errno in (errno.EMFILE, errno.ENFILE) else told


def reason_and_file(error: OSError) -> str:
    """Why the system refused, and which file if it says so."""
    told = reason(error)
    return told if error.filename is None else f"{told}: {shown_text(error.filename)}"


def unreadable(where: object, error: OSError) -> CacheError:
    """The error to raise when the file `where` could not be read: is it damaged, or only out of reach?"""
    if error.errno in (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return CacheCorruptError(f"{where}: {error.strerror or error}; restore it or encode again")
    return CacheAccessError(
        f"{where}: cannot be read: {reason(error)}; it may be whole, so look to that first"
    )
