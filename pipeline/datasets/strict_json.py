"""JSON that others wrote: parsed without surprises, each value checked before it is used."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from cache import shown_text, shown_value

Identifier = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number that a column of 64 bits holds."""

_Value = TypeVar("_Value")
_Lists = TypeVar("_Lists", bound=msgspec.Struct)

_MALFORMED = "JSON is malformed: "


def utf8(data: bytes) -> bytes:
    """Give JSON text in UTF-8, whichever of UTF-8, UTF-16 and UTF-32 its first characters tell.

    Raises:
        ValueError: it is in no such encoding.
    """
    encoding = json.detect_encoding(data)
    return data if encoding == "utf-8" else data.decode(encoding).encode()


def parse_json(text: bytes) -> Any:
    """Parse JSON text.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deeply, or an object has a key twice; one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def split_lists(text: bytes, kind: type[_Lists]) -> _Lists:
    """Split the lists of a JSON object into items, to be decoded later; they are views of `text`, which they keep.

    Args:
        text: JSON in UTF-8.
        kind: has a `list[msgspec.Raw]` for each key that is read.

    Raises:
        ValueError: not JSON, not such an object, or the object has a key twice; the message shows where.
    """
    try:
        lists = msgspec.json.decode(text, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.DecodeError as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        end = int(place[1]) + 1 if place else len(text)
        around = shown_text(text[max(0, end - 80) : end + 20].decode(errors="replace"))
        raise ValueError(f"{str(error).removeprefix(_MALFORMED)}, near: {around}") from None
    parse_json(_without_items(text, [items for items in msgspec.structs.astuple(lists) if items]))
    return lists


def _without_items(text: bytes, lists: Iterable[Sequence[msgspec.Raw]]) -> bytes:
    """Put 0 in place of the items: of two values of one key, only the last is split into items."""
    base, position, remains = _address(text), 0, []
    for first, last in sorted((_address(items[0]), _address(items[-1]) + len(items[-1])) for items in lists):
        remains += [text[position : first - base], b"0"]
        position = last - base
    return b"".join([*remains, text[position:]])


def _address(data: bytes | msgspec.Raw) -> int:
    return np.frombuffer(data, dtype=np.uint8).ctypes.data


def decode_json(text: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[_Value]) -> _Value:
    """Decode JSON text by a typed decoder, which takes no number for a text, nor true for a number.

    Of two values of one key the decoder takes the last: see `refuse_repeated_keys`.

    Raises:
        ValueError: not JSON, or not of the decoder's type; the message names key and value.
    """
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(_complaint(parse_json(bytes(text)), str(error))) from None


def refuse_repeated_keys(text: bytes) -> None:
    """Check that no object of a JSON text has a key twice.

    Raises:
        ValueError: one has; the message names it.
    """
    strings = text.split(b'"')[1::2]
    if b"\\" in text or len(strings) != len(set(strings)):
        parse_json(text)  # where escapes hide what a key is, or two strings are alike: keys, or values


def _complaint(value: Any, message: str) -> str:
    reason, _, place = message.removeprefix(_MALFORMED).partition(" - at `$")
    key = re.match(r"\.(\w+)", place)
    if isinstance(value, dict) and key:
        return f"{key[1]!r} is {shown_value(value[key[1]])}: {reason}"
    return f"{shown_value(value)}: {reason}"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        place = f"of id {shown_value(entry['id'])}" if "id" in entry else shown_value(entry)
        raise ValueError(f"the key {shown_value(twice)} occurs twice in the object {place}")
    return entry
