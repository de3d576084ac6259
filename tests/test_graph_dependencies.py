"""A stage of the graph depends on all code that decides what it writes: else editing that leaves stale results.

It is what the stage's command imports, what those modules import, and so on, also inside functions. It must be
among the stage's `deps` in dvc.yaml, or below one of the modules in `DECIDES_NOTHING`.
"""

import ast
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LAYERS = ("cache", "pipeline", "stages")
GRAPH: dict[str, Any] = {
    name: stage
    for file in ("dvc.yaml", "study/dvc.yaml")
    for name, stage in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"].items()
}
STAGES = {name: stage.get("do", stage) for name, stage in GRAPH.items() if not stage.get("frozen")}

DECIDES_NOTHING: Mapping[str, str] = {
    "cache.errors": "words messages",
    "cache.files": "brings bytes from a disk or a server and writes them whole, or refuses",
    "cache.shown": "words messages",
    "pipeline.config": "refuses what options cannot be",
    "pipeline.errors": "words messages",
    "pipeline.names": "refuses what names cannot be",
    "pipeline.not_finite": "refuses numbers that are not finite",
    "pipeline.params": "hands on the options; a stage depends on the keys that decide its bytes",
    "pipeline.progress": "is how work tells how far it is",
    "pipeline.runs.files": "writes a file whole or not at all",
    "pipeline.runs.identity": "refuses a run of other options or of another cache",
    "pipeline.runs.software": "notes versions, for people",
    "stages.cache_repair": "brings the bytes back that the ledger has the checksums of",
    "stages.check": "refuses options that do not fit the machine, the files or each other",
    "stages.earlier_cache": "keeps an earlier cache or deletes it",
    "stages.paths": "names folders, which are the graph's own",
    "stages.progress": "shows how far a command is",
    "stages.run_state": "decides whether to train, not what",
    "stages.stage_options": "has the options checked, and hands them on",
    "stages.terminal": "shows text",
}
"""By module or package, what it does instead. What only it imports decides nothing either."""

DECIDES_NOTHING_IN: Mapping[str, Mapping[str, str]] = {
    "encode": {"pipeline.unknown_tokens": "counts words that the tokenizer does not know, for a message"}
}
"""Likewise by stage."""

READS = {
    "pipeline.interpretation.concept_list": "pipeline/interpretation/concepts",
    "pipeline.report.pages": "pipeline/report",
}
"""By module, what it reads of the files that lie among the code."""


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@functools.cache
def tree_of(module: str) -> ast.Module:
    file = file_of(module)
    assert file is not None, module
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def names_handed_on(package: str) -> Mapping[str, str]:
    """By public name of a package, the module that it is imported from, at once or when it is first used."""
    froms = [node for node in ast.walk(tree_of(package)) if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in froms if node.module for alias in node.names}


def modules_imported(node: ast.AST) -> Iterable[str]:
    """What code imports of this repository when it runs: nothing that is for the type checker only."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] in LAYERS)
    elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in LAYERS:
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            handed_on = names_handed_on(node.module).get(alias.name)
            yield submodule if file_of(submodule) else handed_on or node.module
    elif isinstance(node, ast.Constant) and re.fullmatch(r"pipeline(\.\w+)+:\w+", str(node.value)):
        yield node.value.split(":")[0]  # of a registry, which imports it when it is asked for
    for child in ast.iter_child_nodes(node):
        yield from modules_imported(child)


def modules_of_command(command: str) -> Iterable[str]:
    """What the function in stages/cli.py or stages/run_cli.py imports that `concord NAME ...` calls."""
    name = command.split()[1].replace("-", "_")
    trees = map(tree_of, ("stages.cli", "stages.run_cli"))
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return modules_imported(next(node for node in functions if node.name == name))


def closure(roots: Iterable[str], without: Iterable[str]) -> set[str]:
    """Everything that is imported from `roots` on, not passing through the modules and packages `without`."""
    waiting, reached = list(roots), set()
    while waiting:
        module = waiting.pop()
        if module not in reached and not covering(module, without):
            reached.add(module)
            waiting += set(modules_imported(tree_of(module))) - {module}
    return reached


def covering(module: str, prefixes: Iterable[str]) -> set[str]:
    return {prefix for prefix in prefixes if f"{module}.".startswith(f"{prefix}.")}


@functools.cache
def code_of(name: str) -> set[str]:
    """The modules that decide what a stage writes."""
    commands = STAGES[name]["cmd"]
    roots = [
        module
        for command in ([commands] if isinstance(commands, str) else commands)
        for module in modules_of_command(command)
    ]
    return closure(roots, {*DECIDES_NOTHING, *DECIDES_NOTHING_IN.get(name, {})})


def declared_code(stage: Mapping[str, Any]) -> set[str]:
    """The stage's dependencies among the modules and packages of this repository."""
    paths = [dependency for dependency in stage["deps"] if dependency.split("/")[0] in LAYERS]
    modules = {path.removesuffix(".py").replace("/", ".") for path in paths}
    return {module for module in modules if file_of(module)}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_every_module_that_its_command_reaches(name: str) -> None:
    declared = declared_code(STAGES[name])
    assert [module for module in sorted(code_of(name)) if not covering(module, declared)] == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_no_code_that_its_command_does_not_reach(name: str) -> None:
    reached = code_of(name)
    idle = [
        one for one in declared_code(STAGES[name]) if not any(covering(module, [one]) for module in reached)
    ]
    assert idle == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_files_that_its_code_reads(name: str) -> None:
    needed = {READS[module] for module in code_of(name) & READS.keys()}
    assert {
        path for path in needed if not any(f"{path}/".startswith(f"{one}/") for one in STAGES[name]["deps"])
    } == set()


def test_every_file_among_the_code_has_a_module_that_reads_it() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".typed"}
    }
    assert {file for file in files if not file.startswith(tuple(READS.values()))} == set()


@pytest.mark.parametrize("module", [*DECIDES_NOTHING, *DECIDES_NOTHING_IN["encode"]])
def test_what_is_said_to_decide_nothing_is_there(module: str) -> None:
    assert file_of(module)


def test_evaluation_depends_on_the_code_of_what_it_measures() -> None:
    measured = {"pipeline.sae.lucid.model", "pipeline.transport.plan", "pipeline.backbone.model"}
    assert measured <= code_of("evaluate")


def test_editing_training_encodes_nothing_and_editing_the_report_trains_nothing() -> None:
    assert not [module for module in code_of("encode") if covering(module, ["pipeline.training"])]
    assert not [module for module in code_of("train") if covering(module, ["pipeline.report"])]
