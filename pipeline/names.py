"""Names that a user gives to variants and splits: each becomes a folder, a stage of the graph and part of a key."""

RULE = "begin with a letter or _, go on with letters, digits, _ or -, and end within 64 characters"
"""What DVC takes everywhere: in a stage's name, in the key of a parameter, and in `dvc exp run --set-param`."""

_LONGEST = 64


def checked_name(text: str) -> str:
    """`text`, if it can name a variant or a split; it is then one folder, and leads out of none.

    Raises:
        ValueError: it cannot; the message says what a name is.
    """
    is_name = text.isascii() and text.replace("-", "_").isidentifier() and not text.startswith("-")
    if not is_name or len(text) > _LONGEST:
        raise ValueError(f"{text[:_LONGEST]!r} is no name here; names {RULE}")
    return text
