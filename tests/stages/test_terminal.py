"""What strangers wrote reaches the terminal as text and as nothing else."""

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table

from stages import terminal
from stages.progress import note, progress_bar
from stages.terminal import Terminal

STAGES = Path(terminal.__file__).parent
HOSTILE = "a\x1b]0;title\x07 \x9b31m \u202ebackwards [bold]no markup[/nothing] :dog: \ud83d"
SHOWN = r"a\x1b]0;title\x07 \x9b31m \u202ebackwards [bold]no markup[/nothing] :dog: \ud83d"


def printed_message() -> None:
    Terminal(stderr=True).print(HOSTILE)


def printed_table() -> None:
    table = Table(title=HOSTILE, box=None, width=100)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    Terminal(stderr=True).print(table, soft_wrap=False)


def noted() -> None:
    note(HOSTILE)


def progressed() -> None:
    with progress_bar(HOSTILE, HOSTILE) as advance:
        advance(1, 1)


@pytest.mark.parametrize("show", [printed_message, printed_table, noted, progressed])
def test_control_characters_and_markup_are_shown_and_not_obeyed(
    show, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    show()
    said = capsys.readouterr().err
    assert SHOWN in said or show is progressed  # a bar is cut to the terminal's width
    assert r"a\x1b]0;title" in said
    assert not any(character in said for character in "\x1b\x07\x9b\u202e")


def test_what_the_terminals_encoding_lacks_is_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(bytes_written, encoding="ascii"))
    Terminal().print("Zoë")
    assert bytes_written.getvalue() == b"Zo\\xeb\n"


def test_there_is_no_other_way_to_the_terminal() -> None:
    for path in STAGES.glob("*.py"):
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "rich.console":
                assert "Console" not in {name.name for name in node.names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "sys.stdout.write", "sys.stderr.write"}, path
                if called == "typer.echo":
                    # JSON escapes what is not printable, and the page of options holds nothing of the user's.
                    assert ast.unparse(node.args[0]).startswith(("json.dumps(", "options_page(")), path
