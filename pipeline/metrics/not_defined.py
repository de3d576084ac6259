"""Figures that do not exist: they are left out of metrics.json, and the reason stands beside the others."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class NotDefined(NamedTuple):
    """Stands in a meter's result in place of a figure, or of a group of figures, that has no value.

    Attributes:
        reason: why, as the end of the sentence "there is no such figure: ...".
    """

    reason: str


class Figures(NamedTuple):
    """A meter's result, told apart.

    Attributes:
        values: the figures there are, nested as they were; groups without any are left out.
        reasons: why the others do not exist, by dotted key.
    """

    values: dict[str, Any]
    reasons: dict[str, str]


def tell_apart(results: Mapping[str, Any]) -> Figures:
    """Separate figures from those that are not defined; one that is no finite number is not defined either.

    JSON knows neither NaN nor Infinity, and no reader should take one for a figure.
    """
    return Figures(_values(results), dict(_reasons(results, "")))


def _values(results: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in results.items():
        kept = _values(value) if isinstance(value, Mapping) else value
        if _reason(value) is None and kept != {}:
            found[key] = kept
    return found


def _reasons(results: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in results.items():
        if isinstance(value, Mapping):
            yield from _reasons(value, f"{prefix}{key}.")
        elif (reason := _reason(value)) is not None:
            yield f"{prefix}{key}", reason


def _reason(value: Any) -> str | None:
    if isinstance(value, NotDefined):
        return value.reason
    if isinstance(value, float) and not math.isfinite(value):
        return "its value is no finite number, since something on the way to it is too large for float32"
    return None
