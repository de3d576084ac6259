"""A file of options is read as DVC reads it, and what could be misread is refused with its line."""

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.options_file import DEEPEST, LARGEST_FILE, read_options_file


def refusal(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as refused:
        read_options_file(path)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 500
    return message.removeprefix(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "a: 1\nb: {c: 1,\n  c: 2}\n",
            "/params.yaml, line 3, column 3: the key 'c' is already on line 2; remove one",
        ),
        ("a: &x {b: 1}\n", "line 1, column 4: anchor &x"),
        ("a: {b: 1}\nc: *x\n", "line 2, column 4: alias *x"),
        ("a: {<<: {b: 1}}\n", "line 1, column 5: merge key <<"),
        (
            "a: !!python/object/apply:os.system [ls]\n",
            "line 1, column 4: tag tag:yaml.org,2002:python/object/apply",
        ),
        ("a: !mine 1\n", "line 1, column 4: tag !mine"),
        ("a: !!str 1\n", "line 1, column 4: tag tag:yaml.org,2002:str"),
        ("1: a\n", "line 1, column 1: the key '1' is no text"),
        ("a: {null: 1}\n", "line 1, column 5: the key 'null' is no text"),
        ("a:\n  true: 1\n", "line 2, column 3: the key 'true' is no text"),
        ("? [a]\n: 1\n", "line 1, column 3: the key a sequence is no text"),
        ("a: 2020-01-01\n", "line 1, column 4: 2020-01-01 is a date in YAML; write it in quotes"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: not valid YAML: but found another document"),
        ("a:\n\tb: 1\n", "line 2, column 1: not valid YAML: found character '\\t'"),
        ("a: [1, 2\n", "line 2, column 1: not valid YAML"),
        ("a: " + "9" * 5000 + "\n", "line 1, column 4: a number of 5000 digits"),
        ("a: " + "[" * 100_000 + "\n", f"line 1, column {4 + DEEPEST - 1}: more than {DEEPEST} levels"),
        ("a: " + "{b: " * 5000 + "\n", f"more than {DEEPEST} levels"),
        (b"a: 1\nb: '\xe9t\xe9'\n", "line 2, column 5: byte 0xe9 is not UTF-8"),
        ("a: 1\nb: 'x\x00'\n", "line 2, column 6: not valid YAML: the character U+0000"),
        ("- a\n", "expected a mapping of options, got list"),
        ("", "expected a mapping of options, got NoneType"),
        (b" " * (LARGEST_FILE + 1), f"more than {LARGEST_FILE} bytes"),
    ],
)
def test_what_can_be_misread_is_refused_in_one_line(tmp_path: Path, content: str | bytes, told: str) -> None:
    assert told in refusal(tmp_path, content)


def test_a_billion_laughs_are_refused_at_the_first(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "line 1, column 5: anchor &a0" in refusal(tmp_path, "\n".join(lines))


def test_a_folder_is_no_file_of_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_options_file(tmp_path)


WORDS = (
    *(
        "",
        "1e-3",
        "1.0e-3",
        "010",
        "0o10",
        "-0x1F",
        "0b11",
        "yes",
        "no",
        "on",
        "off",
        "True",
        "TRUE",
        "false",
        "null",
    ),
    *(
        "~",
        "Null",
        "1_000",
        "12:30:45",
        ".inf",
        "-.INF",
        ".nan",
        "+1",
        "-0",
        "1.",
        ".5",
        "1e3",
        "1E+3",
        "+.5",
        "08",
    ),
    *("1e400", "1e", "0o9", ".", "word", "1.2.3"),
)


def both(tmp_path: Path, text: str) -> tuple[Any, Any]:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return read_options_file(path), parse_yaml(text, str(path))


@pytest.mark.parametrize("word", WORDS)
def test_a_word_means_what_it_means_to_dvc(tmp_path: Path, word: str) -> None:
    ours, theirs = both(tmp_path, f"a: {word}\n")
    assert repr(ours) == repr(theirs)


@given(text=st.from_regex(r"[-+]?[0-9eExXob.]{1,6}", fullmatch=True))
def test_numbers_are_those_of_dvc(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        theirs = repr(parse_yaml(f"a: {text}\n", "params.yaml"))
    except Exception:
        return
    (folder / "numbers.yaml").write_text(f"a: {text}\n", encoding="utf-8")
    assert repr(read_options_file(folder / "numbers.yaml")) == theirs
