"""A stage of the graph depends on the modules that it runs: without one, an edited module leaves stale results."""

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GRAPH: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STAGES = {name: stage.get("do", stage) for name, stage in GRAPH.items() if not stage.get("frozen")}

DECIDES_NOTHING = (
    *("cache", "cache.errors", "cache.files", "cache.shown", "cache.operations"),
    *("pipeline.config", "pipeline.errors", "pipeline.names", "pipeline.not_finite", "pipeline.params"),
    "pipeline.datasets.options",
    *(
        "pipeline.freed_memory",
        "pipeline.unknown_tokens",
        "pipeline.runs.files",
        "pipeline.runs.identity",
        "pipeline.runs.software",
    ),
    *("stages.cache_repair", "stages.check", "stages.earlier_cache", "stages.paths", "stages.progress"),
    *("stages.run_state", "stages.terminal"),
)
"""Modules and packages that refuse, tell, copy bytes or check options."""


def modules_of(name: str) -> set[str]:
    """What a file imports of this repository, also inside its functions."""
    tree = ast.parse(file_of(name).read_text(encoding="utf-8"))  # type: ignore[union-attr]
    named = {
        module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for module in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    }
    return {
        module
        for module in named
        if file_of(module) and module.split(".")[0] in ("cache", "pipeline", "stages")
    }


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_imports_itself_is_among_its_dependencies(name: str) -> None:
    stage = STAGES[name]
    commands = [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]
    declared = [str(one) for one in stage["deps"]]
    needed = {
        file_of(module).relative_to(ROOT).as_posix()  # type: ignore[union-attr]
        for command in commands
        for module in modules_of(f"stages.{command.split()[1]}")
        if not any(module == one or module.startswith(f"{one}.") for one in DECIDES_NOTHING)
    }
    assert not {
        file for file in needed if not any(file == one or file.startswith(f"{one}/") for one in declared)
    }
