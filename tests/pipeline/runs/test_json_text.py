"""Results are JSON that any reader takes: no NaN goes in, and none comes out."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RunError
from pipeline.runs.json_text import json_bytes, parse_json

FIGURES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=5),
)


@given(FIGURES)
def test_figures_come_back_as_they_were(figures: dict[str, object]) -> None:
    assert parse_json(json_bytes(figures, "metrics.json"), "metrics.json", "again") == figures


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_neither_written_nor_read(value: float) -> None:
    with pytest.raises(RunError, match=r"metrics\.json: a figure is not finite"):
        json_bytes({"r2": {"vision": [1.0, value]}}, "metrics.json")
    with pytest.raises(RunError, match=r"metrics\.json: not valid JSON \(.* is no number\); measure again"):
        parse_json(json.dumps({"r2": value}).encode(), "metrics.json", "measure again")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"1e999", b'{"a": 1e999}', b"[" * 10**5])
def test_what_is_no_json_object_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(RunError, match=r"^metrics\.json: .*; measure again$"):
        parse_json(content, "metrics.json", "measure again")
