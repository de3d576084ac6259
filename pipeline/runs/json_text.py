"""Results as JSON: finite numbers only, on writing and on reading. Python's own NaN and Infinity are no JSON."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import RunError
from pipeline.runs.files import replace_file


def write_json(path: Path, values: Any) -> None:
    """Replace `path` by `json_bytes` of plain JSON values.

    Raises:
        RunError: a number is not finite, or the file cannot be written.
    """
    replace_file(path, json_bytes(values, path))


def json_bytes(values: Any, where: object, *, compact: bool = False) -> bytes:
    """Encode in UTF-8, with two spaces of indent and a newline at the end.

    Args:
        values: Plain JSON values.
        where: The file that they are for, as the message names it.
        compact: In one line, without spaces.

    Raises:
        RunError: a number is not finite.
    """
    try:
        layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
        text = json.dumps(values, allow_nan=False, **layout)
    except ValueError as error:
        raise RunError(f"{where}: a figure is not finite ({error}), so nothing was written") from None
    return (text + "\n").encode()


def parse_json(content: bytes, where: object, remedy: str) -> dict[str, Any]:
    """The JSON object in `content`.

    Args:
        content: Of the file.
        where: That file, as the message names it.
        remedy: What to do about a file that is damaged.

    Raises:
        RunError: it is not UTF-8 or not JSON, holds NaN or an infinite number, or is no object.
    """
    try:
        values = json.loads(content.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where}: not valid JSON ({error}); {remedy}") from None
    if not isinstance(values, dict):
        raise RunError(f"{where}: expected an object, got {type(values).__name__}; {remedy}")
    return values


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if abs(number) != float("inf") else _refuse(text)
