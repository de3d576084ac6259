"""Which tokens name a category, in every spelling that tokenizers use."""

import pytest

from pipeline.backbone.model import Backbone
from pipeline.metrics.naming import is_named, names, naming_tokens


@pytest.mark.parametrize(
    ("category", "plural"),
    [
        ("cat", "cats"),
        ("bus", "buses"),
        ("box", "boxes"),
        ("bench", "benches"),
        ("toothbrush", "toothbrushes"),
        ("butterfly", "butterflies"),
        ("key", "keys"),
        ("potato", "potatoes"),
        ("tomato", "tomatos"),
        ("knife", "knives"),
        ("person", "people"),
        ("mouse", "mice"),
        ("fish", "fishes"),
        ("Wine  Glass", "wine glasses"),
        ("teddy bear", "teddy bears"),
    ],
)
def test_plurals_are_names_too(category: str, plural: str) -> None:
    assert plural in names(category)


def test_a_noun_that_is_its_own_plural_keeps_its_one_spelling() -> None:
    assert names("fish")[0] == "fish"
    assert len(names("sheep")) == len(set(names("sheep")))


@pytest.mark.parametrize(
    ("pieces", "category", "expected"),
    [
        (["a", "red", "cat", "</s>"], "cat", [2]),
        (["two", "cats", "and", "a", "cat"], "cat", [1, 4]),
        (["▁a", "▁cat", "s", "."], "cat", [1, 2]),
        (["▁A", "▁Cat"], "cat", [1]),
        (["a", "Ġbut", "ter", "flies"], "butterfly", [1, 2, 3]),
        (["a</w>", "snow", "board</w>"], "snowboard", [1, 2]),
        (["a", "umb", "##rella", "##s"], "umbrella", [1, 2, 3]),
        (["<s>", "a", "traffic", "light", "here"], "traffic light", [2, 3]),
        (["▁traffic", "▁lights"], "traffic light", [0, 1]),
    ],
)
def test_tokens_that_write_the_name_are_found(pieces: list[str], category: str, expected: list[int]) -> None:
    assert naming_tokens(pieces, category) == expected


@pytest.mark.parametrize(
    ("pieces", "category"),
    [
        (["a", "caterpillar"], "cat"),
        (["▁cat", "erpillar"], "cat"),
        (["▁tom", "cat"], "cat"),
        (["cat</w>", "alogue</w>"], "dog"),
        (["a", "traffic", "jam", "and", "light"], "traffic light"),
        (["<unk>", "light"], "traffic light"),
        ([], "cat"),
    ],
)
def test_parts_of_other_words_are_not_names(pieces: list[str], category: str) -> None:
    assert naming_tokens(pieces, category) == []


def test_alignment_holds_for_a_real_tokenizer(backbone: Backbone) -> None:
    ids, valid = backbone.tokenize(["Two cats on the sea, a traffic light."])
    pieces = backbone.token_texts(ids[0][valid[0]])
    assert [pieces[i] for i in naming_tokens(pieces, "cat")] == ["cats"]
    assert [pieces[i] for i in naming_tokens(pieces, "traffic light")] == ["traffic", "light"]
    assert naming_tokens(pieces, "boat") == []


def test_a_text_is_searched_for_whole_words_in_any_case() -> None:
    assert is_named("Two WINE glasses.", "wine glass")
    assert not is_named("a category of wine", "cat")
