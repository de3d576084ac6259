"""docs/options.md is what `concord options` prints, and it says of every option what it may be and decides."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from pipeline.config import Options
from pipeline.option_list import Option, groups_of, options_of
from pipeline.params import Params
from stages.options import options_page

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/options.md").read_text(encoding="utf-8")
LISTED = [
    option
    for section, field in Params.model_fields.items()
    for group in groups_of(field.annotation)
    for option in options_of(group, section)
]


def test_the_page_of_options_is_fresh() -> None:
    assert options_page(ROOT / "dvc.yaml") == PAGE, "concord options > docs/options.md"


@pytest.mark.parametrize("option", LISTED, ids=lambda option: option.key)
def test_every_option_says_what_it_decides(option: Option) -> None:
    assert option.decides
    assert not option.decides.endswith(".")


class Inner(Options):
    """A group inside."""

    share: float | None = Field(default=None, gt=0, le=1, description="of something")
    names: list[str] = Field(min_length=1, description="of things")


class Outer(Options):
    """A group."""

    kind: Literal["one", "another"] = Field(default="one", description="which")
    inner: Inner = Inner(share=0.5, names=["a"])
    absent: Inner | None = None


def test_a_group_is_listed_with_the_values_that_hold_where_it_stands() -> None:
    assert list(options_of(Outer, "outer")) == [
        Option("outer.kind", "`one`, `another`", '"one"', "which"),
        Option("outer.inner.share", "number or null, more than 0, at most 1", "0.5", "of something"),
        Option("outer.inner.names", "list of text, not empty", '["a"]', "of things"),
        Option("outer.absent.share", "number or null, more than 0, at most 1", "null", "of something"),
        Option("outer.absent.names", "list of text, not empty", None, "of things"),
    ]


@pytest.mark.parametrize(
    ("key", "again"),
    [
        ("train.device", "nothing"),
        ("train.epochs", "train"),
        ("dataset.root", "encode"),
        ("report.title", "report"),
    ],
)
def test_the_page_names_the_stages_that_an_option_runs_again(key: str, again: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{key}` "))
    assert row.endswith(f"| {again} |")
