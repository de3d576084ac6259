"""The layers of the house: cache knows nobody, pipeline knows cache, stages knows both, and there are no circles."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "cache": set(),
    "concord": {"cache", "pipeline"},
    "pipeline": {"cache"},
    "stages": {"cache", "pipeline"},
}
CACHE_PARTS_BELOW = {
    "files": set(),
    "format": {"files"},
    "reading": {"files", "format"},
    "writing": {"files", "format", "reading"},
    "loading": {"format", "reading"},
    "operations": {"files", "format", "reading", "writing"},
}
PIPELINE_FLOORS = (
    "errors names ahead progress",
    "config not_finite runs",
    "options_file backbone datasets results",
    "sparse",
    "transport",
    "sae",
    "matching",
    "encoding training metrics unknown_tokens",
    "interpretation classification language_models",
    "world report study",
    "figures params option_list",
)
"""From the ground up: a part imports parts of its own floor and of those below, never of one above."""

FLOOR_OF_PART = {part: floor for floor, parts in enumerate(PIPELINE_FLOORS) for part in parts.split()}
SOURCES = sorted(path for layer in MAY_IMPORT for path in (ROOT / layer).rglob("*.py"))
OPTIONS = [path for path in SOURCES if path.name == "options.py" and path.is_relative_to(ROOT / "pipeline")]


@functools.cache
def imported_modules(path: Path) -> set[str]:
    return modules_named_in(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def modules_imported_at_once(path: Path) -> set[str]:
    """What importing the module imports: not what is inside functions or for the type checker only."""
    return modules_named_in(ast.parse(path.read_text(encoding="utf-8")).body)


def modules_named_in(nodes: Iterable[ast.AST]) -> set[str]:
    modules = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_module_imports_only_the_layers_below_it(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    layers = {module.split(".")[0] for module in imported_modules(path)} & set(MAY_IMPORT)
    assert layers <= MAY_IMPORT[layer] | {layer}


@pytest.mark.parametrize("part", CACHE_PARTS_BELOW)
def test_a_part_of_the_cache_imports_only_the_parts_below_it(part: str) -> None:
    modules = {module for path in (ROOT / "cache" / part).glob("*.py") for module in imported_modules(path)}
    parts = {module.split(".")[1] for module in modules if module.startswith("cache.")}
    assert parts & set(CACHE_PARTS_BELOW) <= CACHE_PARTS_BELOW[part] | {part}


def test_every_part_of_the_pipeline_has_its_floor() -> None:
    parts = {
        path.stem
        for path in (ROOT / "pipeline").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert parts - {"__init__"} == set(FLOOR_OF_PART)


@pytest.mark.parametrize("part", FLOOR_OF_PART)
def test_a_part_of_the_pipeline_imports_nothing_of_a_floor_above(part: str) -> None:
    files = [path for path in SOURCES if f"{module_name(path)}.".startswith(f"pipeline.{part}.")]
    modules = {module for path in files for module in imported_modules(path)}
    parts = {module.split(".")[1] for module in modules if module.startswith("pipeline.")}
    assert [other for other in parts if FLOOR_OF_PART[other] > FLOOR_OF_PART[part]] == []


def test_an_architecture_is_imported_by_no_other_and_by_nothing_that_is_for_all_of_them() -> None:
    sae = ROOT / "pipeline" / "sae"
    architectures = {path.parent.name for path in sae.glob("*/__init__.py")}
    for path in sae.rglob("*.py"):
        own = path.parent.name
        parts = {
            module.split(".")[2] for module in imported_modules(path) if module.startswith("pipeline.sae.")
        }
        assert parts & architectures <= {own}, path


def test_the_pipeline_uses_only_the_public_face_of_the_cache() -> None:
    inner = {
        name for name in map(module_name, SOURCES) if name.startswith("cache.") and "operations" not in name
    }
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] != "cache":
            assert not imported_modules(path) & inner, path


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path) for path in SOURCES}
    graph = {module_name(path): (imported_modules(path) & names) - {module_name(path)} for path in SOURCES}
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in finished:
            for imported in graph[module]:
                visit(imported, (*trail, module))
            finished.add(module)

    for module in names:
        visit(module, ())


def test_training_starts_without_the_libraries_of_the_backbone() -> None:
    paths = {module_name(path): path for path in SOURCES}
    waiting, reached = ["stages.train", "pipeline.params"], set()
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            if module in paths:
                waiting += modules_imported_at_once(paths[module])
    assert "cache" in reached and "pipeline.backbone.options" in reached
    assert not [module for module in reached if module.startswith(("open_clip", "torchvision", "timm"))]


@pytest.mark.parametrize("module", ["pipeline.params", "stages.cli", "stages.scenes", "stages.stage_options"])
def test_options_and_the_command_line_are_there_before_what_computes(module: str) -> None:
    """In an interpreter of its own, as other tests have imported everything."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"torch", "pyarrow", "zarr", "dask"} & set(loaded.stdout.split())


@pytest.mark.parametrize("path", OPTIONS, ids=module_name)
def test_options_import_only_what_is_as_light_as_they(path: Path) -> None:
    ours = imported_modules(path) & {*map(module_name, SOURCES)}
    assert {module for module in ours if not module.endswith(".options")} <= {
        *("cache", "pipeline.config", "pipeline.errors")
    }


def test_every_group_of_options_stands_among_the_options_of_its_package() -> None:
    elsewhere = {
        f"{module_name(path)}.{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and path not in OPTIONS
        if any(ast.unparse(base).endswith("Options") for base in node.bases)
    }
    assert {name for name in elsewhere if not name.startswith("pipeline.params.")} == set()
