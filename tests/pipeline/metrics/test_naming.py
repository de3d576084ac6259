"""What names a category in a text."""

import pytest

from pipeline.metrics.naming import is_named, names


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


def test_a_text_is_searched_for_whole_words_in_any_case() -> None:
    assert is_named("Two WINE glasses.", "wine glass")
    assert not is_named("a category of wine", "cat")


@pytest.mark.parametrize(
    ("text", "category", "named"),
    [
        ("Deux CAFÉS.", "café", True),
        ("un cafe\u0301 noir", "café", True),
        ("un café noir", "cafe", False),
        ("黒い猫がいる", "猫", True),
        ("die STRASSE", "Straße", True),
        ("two t-shirts", "t-shirt", True),
        ("a snow_cat", "cat", False),
    ],
)
def test_a_name_is_found_however_its_letters_are_composed(text: str, category: str, named: bool) -> None:
    assert is_named(text, category) == named
