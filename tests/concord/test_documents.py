"""Every piece of code in the README and in docs/ works: Python runs, commands parse, options are accepted."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
import yaml
from dvc.cli.parser import get_main_parser
from typer.testing import CliRunner

import concord
from stages.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GRAPH = {
    prefix + name
    for file, prefix in (("dvc.yaml", ""), ("study/dvc.yaml", "study/dvc.yaml:"))
    for name in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"]
} | {"study/dvc.yaml"}
"""What `dvc repro` takes: stages, those of the study behind its file, or all of these."""
MAKE = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SERVER = "https://example.org/caches/"
RUN = ("concord cache info",)
"""Commands that are quick enough to be run, too."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    language, lines, start = None, [], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```") and language is None:
            language, lines, start = line[3:], [], number
        elif line.startswith("```"):
            yield Block(page.relative_to(ROOT).as_posix(), start, str(language), "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)


BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = {
    block.page: [one for one in BLOCKS if one[:1] == block[:1] and one.language == "python"]
    for block in BLOCKS
}
COMMANDS = [
    (f"{block.page}:{block.line}", command)
    for block in BLOCKS
    if block.language in {"console", ""}
    for line in block.text.splitlines()
    for command in line.removeprefix("$ ").split(" && ")
] + [
    (f"{page.name}:{number}", line.strip())
    for page in PAGES
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    if re.match(r"    (concord|dvc|make|python -m) ", line)
]


def arguments_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def test_blocks_are_of_a_kind_that_is_tried() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "console", "yaml", "diff", ""}
    assert len(COMMANDS) > 30


def formula() -> dict[str, Any]:
    """What the format's formulas speak of, for five rows of two shards."""
    return {
        "numpy": np,
        "rows": np.arange(5),
        "shard_rows": 4,
        "channel_mean": np.ones((2, 3), np.float32),
        "channel_std": np.ones((2, 3), np.float32),
        "token_scale": np.ones(5, np.float16),
        "q": np.ones((5, 3), np.int8),
        "bits": np.ones((5, 3), np.uint16),
    }


@pytest.mark.parametrize("page", [page for page, found in PYTHON.items() if found])
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    if page == "docs/cache-format.md":
        monkeypatch.chdir(project / "data/cache")
        names |= formula()
    for block in PYTHON[page]:
        code = block.text.replace(SERVER, f"{project}/data/cache/")
        exec(compile("\n" * block.line + code, page, "exec"), names)


@pytest.mark.parametrize(("place", "command"), COMMANDS)
def test_a_command_of_a_page_is_one_that_there_is(place: str, command: str, project: Path) -> None:
    program, *arguments = arguments_of(command.replace(SERVER, f"{project}/data/cache/"))
    if program == "concord":
        parse(typer.main.get_command(app), arguments)
        if command.startswith(RUN):
            assert CliRunner().invoke(app, arguments).exit_code == 0
    elif program == "dvc":
        parsed = get_main_parser().parse_args(arguments)
        named = {target.split("@")[0] for target in getattr(parsed, "targets", None) or ()}
        assert {target for target in named if not target.endswith(".zarr")} <= GRAPH
    elif program == "make":
        assert set(arguments) <= set(MAKE)
    elif program == "python":
        assert arguments[0] == "-m"
        assert find_spec(arguments[1])
    else:
        assert program in {"git", "chmod"}


def parse(command: Any, arguments: list[str], parent: Any = None) -> None:
    """Parse as the command line does, and call nothing."""
    context = command.make_context(command.name, list(arguments), parent=parent)
    if hasattr(command, "resolve_command"):
        _, chosen, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parse(chosen, rest, context)


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language == "yaml"], ids=lambda one: f"{one.page}:{one.line}"
)
def test_options_of_a_page_are_accepted(block: Block, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    if values.keys() <= SHIPPED.keys():
        changed = SHIPPED | {key: SHIPPED[key] | given for key, given in values.items()}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
        concord.load_params(tmp_path / "params.yaml")
    else:
        assert block.page == "docs/sharing.md"  # a stage of dvc.yaml


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language == "diff"], ids=lambda one: str(one.line)
)
def test_a_change_of_a_page_fits_the_files_that_it_changes(block: Block) -> None:
    """What it takes out is there, and new files are Python."""
    for change in re.split(r"^--- ", block.text, flags=re.MULTILINE)[1:]:
        name, *lines = change.splitlines()
        if name == "/dev/null":
            compile("\n".join(line[1:] for line in lines[1:]), lines[0], "exec")
        else:
            there = (ROOT / name).read_text(encoding="utf-8").splitlines()
            assert [line for line in lines if line.startswith("-") and line[1:] not in there] == []


def test_the_readme_opens_the_arrays_of_a_cache(project: Path) -> None:
    """An xarray data set of the root would be empty: the arrays lie in groups."""
    (line,) = re.findall(r"`(xarray\.open\w+\(.*?\))`", (ROOT / "README.md").read_text(encoding="utf-8"))
    import xarray

    opened = eval(line, {"xarray": xarray})
    assert opened["tokens"].shape[0] == concord.open_cache("data/cache/val.zarr").manifest.images
