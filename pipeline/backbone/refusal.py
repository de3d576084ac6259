"""One line of whatever went wrong inside a library."""

_LONGEST = 300


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message, cut to a length that can be read."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
