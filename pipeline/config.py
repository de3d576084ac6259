"""The base of every typed option in `params.yaml`, and the error a bad value ends in."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ConfigError


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
            raise ConfigError("\n".join(_describe(cls, where, error))) from None


def _describe(options: type[Options], where: str, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in (where, *problem["loc"]) if part != "")
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted(options.model_fields))
            lines.append(f"{key}: no such option; the options of {where} are {known}")
        else:
            lines.append(f"{key}: {problem['msg']} (got {problem['input']!r})")
    return lines
