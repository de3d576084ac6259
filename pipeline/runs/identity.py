"""Comparing two identities, which are plain JSON, and saying in one line how they differ."""

from collections.abc import Mapping
from typing import Any

from cache import json_leaves
from pipeline.errors import RunError

_SHOWN = 5
_ABSENT = "(absent)"
_CHARACTERS = 200


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Each dotted key that differs, with both values as JSON, the found one first."""
    left, right = dict(json_leaves(found)), dict(json_leaves(expected))
    return [
        f"{key}: {left.get(key, _ABSENT):.{_CHARACTERS}} and not {right.get(key, _ABSENT):.{_CHARACTERS}}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def refuse_differences(what: str, found: Mapping[str, Any], expected: Mapping[str, Any], remedy: str) -> None:
    """Check that two identities are one.

    Raises:
        RunError: they differ; one line, `what`, the first keys that differ with both values, and the `remedy`.
    """
    lines = differences(found, expected)
    if lines:
        more = f" (and {len(lines) - _SHOWN} more)" if len(lines) > _SHOWN else ""
        raise RunError(f"{what}: it has {', '.join(lines[:_SHOWN])}{more}; {remedy}")
