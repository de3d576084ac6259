"""The base of every typed option in `params.yaml`, and the error a bad value ends in."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from cache import shown_text, shown_value, visible
from pipeline.errors import ConfigError
from pipeline.names import checked_name

Name = Annotated[str, AfterValidator(checked_name)]
"""A variant's or a split's."""

_UNKNOWN = "no_such_option"
_TOO_LARGE_INTEGER = 1 << 63
_LARGEST_FLOAT, _SMALLEST_FLOAT = 3e38, 1.2e-38
"""Of float32, without its subnormal numbers, which some processors take for 0."""


class Options(BaseModel):
    """A frozen group of options; a misspelt key or a value out of range is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Any, where: str) -> Self:
        """Validate `values`, the part of a configuration found under the key `where`.

        Raises:
            ConfigError: one line per bad value, each naming the key, the value and the remedy.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problems = cls.own_problems(error.errors())
            raise ConfigError("\n".join(_described(where, problem) for problem in problems)) from None

    @classmethod
    def own_problems(cls, problems: Sequence[ErrorDetails]) -> Iterable[ErrorDetails]:
        """Those of the problems that are worth a line: by default all."""
        return problems

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_options(cls, values: Any) -> Any:
        """Refuse misspelt keys first: what else is wrong with a group, a key that is missing, follows from them."""
        if isinstance(values, Mapping) and cls.model_config["extra"] == "forbid":
            unknown = [key for key in values if key not in cls.model_fields]
            if unknown:
                raise ValidationError.from_exception_data(
                    cls.__name__, [_unknown_option(key, sorted(cls.model_fields)) for key in unknown]
                )
        return values

    @field_validator("*")
    @classmethod
    def _refuse_numbers_that_no_tensor_holds(cls, value: Any) -> Any:
        """Integers are stored in 64 bits, and what is computed with a fraction is computed in float32."""
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, int) and abs(one) >= _TOO_LARGE_INTEGER:
                raise ValueError("too large: integers have 64 bits; take a smaller one")
            if isinstance(one, float) and abs(one) > _LARGEST_FLOAT:
                raise ValueError(f"too large: it is infinite in float32; take at most {_LARGEST_FLOAT:.1e}")
            if isinstance(one, float) and 0 < abs(one) < _SMALLEST_FLOAT:
                raise ValueError(f"too small: it is 0 in float32; take 0, or at least {_SMALLEST_FLOAT:.1e}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_flags_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no number, though Python takes it for 1."""
        allowed = cls.model_fields[str(info.field_name)].annotation
        flag = any(isinstance(one, bool) for one in (value if isinstance(value, list | tuple) else [value]))
        if flag and not {bool, Any} & _types(allowed):
            raise ValueError("true and false are no values of this option")
        return value


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)` if one of the known names is spelt nearly like `word`, else nothing."""
    names = difflib.get_close_matches(word[:100], known, n=1)
    return f" (did you mean {names[0]}?)" if names else ""


def _unknown_option(key: Any, known: Sequence[str]) -> InitErrorDetails:
    return {
        "type": PydanticCustomError(_UNKNOWN, "no such option", {"known": known}),
        "loc": (key if isinstance(key, str | int) else str(key),),
        "input": None,
    }


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is made of, as far as they are visible in it."""
    return {annotation}.union(*map(_types, get_args(annotation)))


def _described(where: str, problem: ErrorDetails) -> str:
    parts = [shown_text(part) for part in (where, *problem["loc"]) if part not in {"", "[key]"}]
    key = ".".join(parts) or "options"
    if problem["type"] == _UNKNOWN:
        known = problem["ctx"]["known"]
        group = f"the options of {'.'.join(parts[:-1])}" if parts[:-1] else "the sections"
        return f"{key}: no such option{nearest(parts[-1], known)}; {group} are {', '.join(known)}"
    if problem["type"] == "missing":
        return f"{key}: is missing; write it"
    if problem["type"] in {"model_type", "dict_type"}:
        return f"{key}: must be a mapping of options (got {shown_value(problem['input'])})"
    message = visible(" ".join(problem["msg"].removeprefix("Value error, ").split()))
    if concerns_a_group(problem) or problem["loc"][-1:] == ("[key]",):
        return f"{key}: {message}"
    return f"{key}: {message} (got {shown_value(problem['input'])})"


def concerns_a_group(problem: ErrorDetails) -> bool:
    """Whether options do not fit together; the message says which."""
    return problem["type"] == "value_error" and isinstance(problem["input"], Mapping | Options)
