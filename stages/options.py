"""The page of all options: what each may be and decides, and which stages of the graph a change of it runs again."""

import re
from collections.abc import Mapping
from inspect import getdoc
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from pipeline.config import Options
from pipeline.option_list import Option, groups_of, options_of
from pipeline.params import Params, Variant
from stages.graph_check import graph_stages

_INTRODUCTION = """# Options

Every key of `params.yaml`, as `concord options` prints them. A key that the file leaves out has its default. The last
column names the stages of `dvc.yaml` that run again when the key changes; what hangs on them follows. An option that
runs nothing again says how this machine works. The study has options of its own, in `study/params.yaml`.
"""
_HEADER = "| option | value | default | decides | runs again |\n| --- | --- | --- | --- | --- |"
_VARIANTS = (
    "A mapping of names to recipes. {about} `variants.NAME.train` and `variants.NAME.sae` hold what "
    "differs from `train` and `sae`, key by key; with another `architecture` than that of `sae`, a "
    "variant differs from the defaults of that architecture. A change of a variant runs `train@NAME` "
    "again; the study repeats those that it lists."
)


def options_page(graph: Path) -> str:
    """`docs/options.md`, in Markdown.

    Args:
        graph: the `dvc.yaml` that says what runs again.

    Raises:
        ConfigError: the graph is no YAML.
    """
    stages = {name: stage for name, stage in graph_stages(graph).items() if not stage.get("frozen")}
    sections = (_section(name, field, stages) for name, field in Params.model_fields.items())
    return "\n".join([_INTRODUCTION, *sections])


def _section(name: str, field: FieldInfo, stages: Mapping[str, Any]) -> str:
    groups = groups_of(field.annotation)
    if not groups:
        return f"## {name}\n\n{_VARIANTS.format(about=_about(Variant))}\n"
    return "\n".join(_table(name, group, len(groups) > 1, stages) for group in groups)


def _table(name: str, group: type[Options], is_one_of_several: bool, stages: Mapping[str, Any]) -> str:
    """The options of one group, and its architecture in the heading where a section has a choice of groups."""
    heading = name
    if is_one_of_several:
        heading += f" with architecture {group.model_fields['architecture'].default}"
    rows = (_row(option, _runs_again(option.key, stages)) for option in options_of(group, name))
    return "\n".join([f"## {heading}\n", f"{_about(group)}\n", _HEADER, *rows, ""])


def _about(group: type[Options]) -> str:
    return " ".join((getdoc(group) or "").split())


def _row(option: Option, again: str) -> str:
    default = "required" if option.default is None else f"`{option.default}`"
    cells = (f"`{option.key}`", option.values, default, option.decides, again)
    return " | ".join(["", *(cell.replace("|", "\\|") for cell in cells), ""]).strip()


def _runs_again(key: str, stages: Mapping[str, Any]) -> str:
    return ", ".join(name for name, stage in stages.items() if _depends(stage, key)) or "nothing"


def _depends(stage: Mapping[str, Any], key: str) -> bool:
    """Whether a stage has the key, or a section around it, among its params, or is made of the key's value."""
    parts = key.split(".")
    around = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    interpolated = re.findall(r"\$\{([\w.]+)", str(stage))
    return bool(around & {*stage.get("params", ()), *interpolated})
