"""What can be wrong with a cache; every message names the place, the value and the remedy."""


class CacheError(Exception):
    """Base of every error of the activation cache; the message is written for the user."""


class CacheMissingError(CacheError):
    """There is no cache at the given path."""


class CacheFormatError(CacheError):
    """A path, a manifest or array metadata is not what format version 1 prescribes."""


class CacheIdentityError(CacheError):
    """A cache belongs to another backbone, data set or layout than the one asked for."""


class CacheIncompleteError(CacheError):
    """A cache has shards that are not written yet."""


class CacheCorruptError(CacheError):
    """A file of the cache is missing, truncated, or fails its checksum."""


class DiskSpaceError(CacheError):
    """The disk cannot hold the cache, or ran full while it was written."""


class ShardContentError(CacheError):
    """The activations or samples handed to the writer are not a valid shard."""
