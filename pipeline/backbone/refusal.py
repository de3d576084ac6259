"""One line of whatever went wrong inside a library."""

from cache import shown_text


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of its message, as text of a length that can be read."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown_text(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
