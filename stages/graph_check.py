"""Whether `dvc.yaml` and `params.yaml` fit together: DVC finds out only when it comes to the stage."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cache import shown_text
from pipeline.errors import ConfigError
from pipeline.options_file import read_options_file
from pipeline.params import Params

GRAPH = "dvc.yaml"


def graph_problems(params: Params, path: Path) -> Iterator[str]:
    """One line for everything that the graph names and the file of options `path` does not have.

    Args:
        params: What `path` holds.
        path: The file of options; the graph is the file `dvc.yaml` in its folder. Without one there is nothing to say.

    Raises:
        ConfigError: the graph is no YAML.
    """
    file = path.parent / GRAPH
    if not file.is_file():
        return
    stages = graph_stages(file)
    yield from _missing_keys(stages, read_options_file(path), file)
    yield from _missing_variants(stages, params, file)


def graph_stages(file: Path) -> dict[str, Any]:
    """The definition of every stage or group of stages of a graph, by name.

    Raises:
        ConfigError: the file is no YAML.
    """
    try:
        graph = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid YAML: {shown_text(error)}") from None
    stages = graph.get("stages") if isinstance(graph, dict) else None
    definitions = stages if isinstance(stages, dict) else {}
    return {name: one | one.get("do", {}) for name, one in definitions.items() if isinstance(one, dict)}


def _missing_keys(stages: dict[str, Any], options: dict[str, Any], file: Path) -> Iterator[str]:
    told = set()
    for name, stage in stages.items():
        for key in stage.get("params", ()):
            is_plain = isinstance(key, str) and "${" not in key and key.split(".")[0] in options
            if is_plain and key not in told and not _has(options, key):
                told.add(key)
                yield f"{key}: is missing, and the stage {name} of {file} depends on it; write it, were it the default"


def _has(options: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(options, dict) or part not in options:
            return False
        options = options[part]
    return True


def _missing_variants(stages: dict[str, Any], params: Params, file: Path) -> Iterator[str]:
    for name, stage in stages.items():
        named = {
            match[1]
            for dependency in stage.get("deps", ())
            if (match := re.match(r"runs/([\w-]+)/", str(dependency)))
        }
        for variant in sorted(named - params.variants.keys()):
            yield f"variants.{variant}: is missing, and the stage {name} of {file} shows it; take it out there"
