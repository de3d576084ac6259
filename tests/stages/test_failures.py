"""What a user is told: the library says what to do, and only the command line knows by which command and flag."""

import ast
import errno
import re
import resource
from pathlib import Path

import pytest

from cache import CacheVersionError
from cache.errors import reason_and_file
from cache.format.manifest import other_version
from pipeline.errors import RunError
from pipeline.runs.config import RETRAIN
from stages.failures import COMMANDS, message_for_user

ROOT = Path(__file__).parents[2]
FLAG = re.compile(r"(^|[\s`(])--[a-z]")
GIVES_FLAGS_TO_GIT = ROOT / "pipeline/runs/software.py"
LIBRARY = [path for layer in ("cache", "pipeline") for path in sorted((ROOT / layer).rglob("*.py"))]


def flags_in(source: str) -> list[str]:
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if FLAG.search(node.value)
    ]


def test_no_message_of_the_library_names_a_flag() -> None:
    named = {
        path: flags_in(path.read_text(encoding="utf-8")) for path in LIBRARY if path != GIVES_FLAGS_TO_GIT
    }
    assert {path: flags for path, flags in named.items() if flags} == {}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RunError(f"runs/lucid: is damaged; {RETRAIN}"), "(`concord train VARIANT --replace`)"),
        (CacheVersionError(other_version(1)), "(`concord encode SPLIT --replace`)"),
    ],
)
def test_a_remedy_is_told_with_its_command(error: Exception, told: str) -> None:
    message = message_for_user(error)
    assert message is not None
    assert message.startswith(str(error))
    assert message.endswith(told)


@pytest.mark.parametrize("remedy", COMMANDS)
def test_a_remedy_with_a_command_is_one_of_the_library(remedy: str) -> None:
    assert any(remedy in path.read_text(encoding="utf-8") for path in LIBRARY)


@pytest.mark.parametrize(
    ("error", "limited", "told"),
    [
        (RuntimeError("can't start new thread"), True, "raise the limit (`ulimit -v`)"),
        (RuntimeError("can't start new thread"), False, "raise the limit (`ulimit -u`)"),
        (
            ImportError("libtorch_cuda.so: failed to map segment from shared object"),
            True,
            "not enough memory",
        ),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), False, "not enough memory"),
        (SystemError("error return without exception set"), True, "not enough memory"),
        (SystemError("error return without exception set"), False, None),
        (ImportError("No module named x"), True, None),
    ],
)
def test_a_limit_of_memory_is_told_as_one_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, error: Exception, limited: bool, told: str | None
) -> None:
    bytes_ = 1 << 30 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (bytes_, bytes_))
    message = message_for_user(error)
    assert message is None if told is None else told in str(message)


def test_too_few_handles_have_their_limit_named() -> None:
    error = OSError(errno.EMFILE, "Too many open files", "a/b")
    assert reason_and_file(error) == "Too many open files (raise the limit, `ulimit -n`): a/b"
