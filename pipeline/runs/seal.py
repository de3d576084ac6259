"""Files that carry a checksum of themselves: a flipped bit anywhere in one is noticed when it is read.

A seal is the text `concord-blake3:` and 64 hexadecimal digits somewhere in the file: the BLAKE3 of the file as it is
with 64 zeros in their place. It stands where a format has room for text, so that a sealed JSON, Parquet or safetensors
file can be read by anyone without this code.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from cache import regular_file
from pipeline.errors import RunError, os_error_reason
from pipeline.runs.files import replace_file
from pipeline.runs.json_text import json_bytes, parse_json

MARK = "concord-blake3:"
_DIGITS = 64
UNSEALED = MARK + "0" * _DIGITS
"""Stands in a file's content where `sealed` puts the seal."""

SEAL_KEY = "seal"


def sealed(content: bytes, *rest: bytes | memoryview) -> bytes:
    """`content` with its seal in the place of its one `UNSEALED`; the seal also covers the `rest` of the file."""
    digest = blake3(content)
    for part in rest:
        digest.update(part)
    return content.replace(UNSEALED.encode(), f"{MARK}{digest.hexdigest()}".encode(), 1)


def check_seal(path: Path, remedy: str) -> None:
    """Compare the file at `path` with its seal; it is mapped, not read into memory.

    Args:
        path: the file.
        remedy: what to do if it is not what was written.

    Raises:
        RunError: it cannot be read, has no seal, or is not what was written.
    """
    try:
        with regular_file(path) as file:
            if file.seek(0, 2) == 0:
                raise RunError(f"{path}: is empty; {remedy}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                problem = _problem(content)
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {os_error_reason(error)}; {remedy}") from None
    if problem:
        raise RunError(f"{path}: {problem}; {remedy}")


def _problem(content: mmap.mmap) -> str | None:
    start = content.find(MARK.encode()) + len(MARK)
    if start < len(MARK):
        return "has no checksum (damaged, or written by an earlier version)"
    found = content[start : start + _DIGITS]
    with memoryview(content) as view, view[:start] as before, view[start + _DIGITS :] as after:
        digest = blake3(before).update(b"0" * _DIGITS).update(after)
    return (
        None
        if found == digest.hexdigest().encode()
        else "changed since it was written (its checksum differs)"
    )


def write_sealed(path: Path, values: Mapping[str, Any], *, compact: bool = False) -> None:
    """Replace `path` by sealed JSON; the seal is in a list, which DVC does not take for a metric.

    Args:
        path: The file.
        values: Plain JSON.
        compact: Write it in one line.

    Raises:
        RunError: a number is not finite, or the file cannot be written.
    """
    replace_file(path, sealed(json_bytes({**values, SEAL_KEY: [UNSEALED]}, path, compact=compact)))


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """The values that `write_sealed` wrote.

    Raises:
        RunError: the file is missing, cannot be read, or is not what was written; ends with the `remedy`.
    """
    values = read_unchecked(path, remedy)
    check_seal(path, remedy)
    return {key: value for key, value in values.items() if key != SEAL_KEY}


def read_unchecked(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file, which may not be what was written: `check_seal` tells.

    Raises:
        RunError: the file is missing, cannot be read, or is no JSON object of finite numbers; ends with the `remedy`.
    """
    try:
        with regular_file(path) as file:
            content = file.read()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {os_error_reason(error)}; {remedy}") from None
    return parse_json(content, path, remedy)
