"""JSON that others wrote: parsed without surprises, and each value checked before it is used."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from cache import shown_value

_Value = TypeVar("_Value", int, str, list[Any])


def parse_json(data: bytes | str) -> Any:
    """Parse JSON text; bytes are UTF-8, or UTF-16 or UTF-32 as JSON's first characters tell.

    Raises:
        ValueError: not JSON, in no such encoding, nested too deeply, or an object has a key twice; one line.
    """
    try:
        return json.loads(data, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def checked_value(entry: Mapping[str, Any], key: str, kind: type[_Value]) -> _Value:
    """The value under `key`, of the given type; a number is never taken for a text, nor true for a number.

    Raises:
        ValueError: it is missing or of another type, a whole number of more than 64 bits, or a text that is none; the
            message names key and value.
    """
    value = entry.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{key!r} must be {kind.__name__}, got {shown_value(value)}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{key!r} must have at most 64 bits, got {shown_value(value)}")
    if isinstance(value, str) and not is_text(value):
        raise ValueError(
            f"{key!r} has half a character (a lone surrogate), which no file can hold: {shown_value(value)}"
        )
    return value


def is_text(value: object) -> bool:
    """Whether it is a string that can be written, without half of an emoji (a lone surrogate) in it."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        place = f"of id {shown_value(entry['id'])}" if "id" in entry else shown_value(entry)
        raise ValueError(f"the key {shown_value(twice)} occurs twice in the object {place}")
    return entry
