"""Every option by its key: what it may be, what it is by default, and what it decides."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import Options
from pipeline.sae.options import ArchitectureOptions
from pipeline.sae.registry import ARCHITECTURES, options_type

_NAMES = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path", NoneType: "null"}
_BOUNDS = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}


class Option(NamedTuple):
    """One key of the file of options.

    Attributes:
        key: dotted, from the top: "sae.guidance.lambda_global".
        values: what it may be, in words.
        default: what it is where the file does not say, as JSON; None if the file must say it.
        decides: its description.
    """

    key: str
    values: str
    default: str | None
    decides: str


def groups_of(annotation: Any) -> list[type[Options]]:
    """The groups of options that a section may be, by its annotation; none if it is no group."""
    if annotation is ArchitectureOptions:
        return [options_type(name) for name in ARCHITECTURES]
    return [part for part in _alternatives(annotation) if _is_group(part)]


def options_of(group: type[Options], key: str, defaults: Options | None = None) -> Iterator[Option]:
    """Every option of a group and of the groups in it, in their order.

    Args:
        group: the type of the group.
        key: where the group stands in the file.
        defaults: what a group that stands for no other values holds; by default the defaults of `group`.
    """
    for name, field in group.model_fields.items():
        default = getattr(defaults, name) if defaults else field.get_default(call_default_factory=True)
        inner = groups_of(field.annotation)
        if not inner:
            yield Option(f"{key}.{name}", _values(field), _default(default), field.description or "")
        else:
            yield from options_of(
                inner[0], f"{key}.{name}", default if isinstance(default, Options) else None
            )


def _alternatives(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else [annotation]


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Options)


def _values(field: FieldInfo) -> str:
    return ", ".join([_type_in_words(field.annotation), *_bounds_in_words(field.metadata)])


def _type_in_words(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return ", ".join([_type_in_words(parts[0]), *_bounds_in_words(parts[1:])])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin is dict:
        return f"mapping of {_type_in_words(parts[0])} to {_type_in_words(parts[1])}"
    if origin in {list, tuple}:
        return f"list of {_type_in_words(parts[0])}"
    if origin in {Union, UnionType}:
        return " or ".join(map(_type_in_words, parts))
    return _NAMES.get(annotation, str(annotation))


def _bounds_in_words(metadata: Sequence[Any]) -> Iterator[str]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _bounds_in_words(one.metadata)
        if getattr(one, "min_length", 0):
            yield "not empty"
        for bound, words in _BOUNDS.items():
            if hasattr(one, bound):
                yield words.format(f"{getattr(one, bound):,}")


def _default(value: Any) -> str | None:
    if value is PydanticUndefined:
        return None
    return json.dumps(value, default=str, ensure_ascii=False)
