"""Values of somebody's file are shown on one line, of bounded length, with nothing in it that a terminal obeys."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import shown_text, shown_value, visible
from cache.shown import LONGEST

OBEYED = [
    "\x1b[31m",
    "\x9b31m",
    "\x07",
    "\r",
    "\x7f",
    "\x00",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\ud83d",
]


def laughs(levels):
    value = ["lol"] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


def deep(levels):
    value = inner = {}
    for _ in range(levels):
        inner["a"] = inner = {}
    return value


def is_plain(line):
    unseen = {"Cc", "Cs", "Zl", "Zp"}
    return not any(unicodedata.category(c) in unseen or c in "\u202e\u2066\u200f" for c in line)


@pytest.mark.parametrize(
    "value",
    [
        *OBEYED,
        laughs(20),
        deep(100_000),
        "x" * 10**7,
        "\n" * 1000,
        10**100_000,
        {"a" * 1000: "b" * 1000},
        b"\x1b" * 1000,
        list(range(10**5)),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("show", [shown_value, lambda value: shown_text(shown_value(value))])
def test_any_value_is_one_short_plain_line(value, show):
    line = show(value)
    assert len(line) <= 12 * LONGEST  # an escape of 10 characters for each of them at most
    assert "\n" not in line
    assert is_plain(line)


@given(st.text() | st.text(alphabet=st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_any_text_is_one_short_plain_line(text):
    for line in (shown_text(text), shown_value(text)):
        assert is_plain(line)
        assert len(line) <= 12 * LONGEST


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_obeys_is_written_as_an_escape_and_the_rest_stays(text):
    shown = visible(f"before {text} after")
    assert is_plain(shown)
    assert shown.startswith("before \\")
    assert shown.endswith(" after")


@pytest.mark.parametrize("text", ["plain", "a\n\tb", "Zoë 犬 ✓", "👩‍🚒", "می‌خواهم", "שלום"])
def test_text_in_any_script_stays_as_it_is(text):
    assert visible(text) == text


def test_ordinary_values_are_shown_as_python_writes_them():
    assert [shown_value(value) for value in ("two  spaces", 3, None, [1, 2])] == [
        "'two  spaces'",
        "3",
        "None",
        "[1, 2]",
    ]
