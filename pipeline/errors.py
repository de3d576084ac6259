"""The errors that a user's mistake ends in: one clear message, never a traceback."""


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
