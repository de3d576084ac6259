from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.interpretation.concept_list import load_concept_list
from pipeline.world.scenes.lexicon import SYNONYMS

COCO_CATEGORIES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, "
    "stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, "
    "backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball "
    "bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, "
    "spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, "
    "couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, "
    "microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, "
    "toothbrush"
)


def write(folder: Path, content: str | bytes) -> str:
    path = folder / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_terms_keep_the_order_of_the_file_and_lose_surplus_spaces(tmp_path):
    found = load_concept_list(write(tmp_path, "\ufeff# animals\n\n  traffic   light \ncat\r\nboat\n"))
    assert found.terms == ("traffic light", "cat", "boat")
    assert found.truth == {}


def test_a_term_may_say_which_true_concept_it_names(tmp_path):
    found = load_concept_list(write(tmp_path, "sailboat = noun:boat\nleft of=relation:left of\nthing\n"))
    assert found.truth == {"sailboat": "noun:boat", "left of": "relation:left of"}
    assert found.terms == ("sailboat", "left of", "thing")


def test_another_file_has_another_identity(tmp_path):
    first = load_concept_list(write(tmp_path, "cat\n"))
    assert load_concept_list(write(tmp_path, "cat\n")).sha256 == first.sha256
    assert load_concept_list(write(tmp_path, "cat\ndog\n")).sha256 != first.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\ndog\nCat\n", "line 3: 'Cat' is already on line 1"),
        ("cat\n  two  birds\ntwo birds\n", "line 3: 'two birds' is already on line 2"),
        ("", "no term in it"),
        ("# only\n\n", "no term in it"),
        ("cat\n = noun:dog\n", "line 2: no term before '='"),
        (b"caf\xe9\n", "byte 3 is not UTF-8"),
    ],
)
def test_an_unusable_list_is_refused_with_file_and_place(tmp_path, content, message):
    source = write(tmp_path, content)
    with pytest.raises(ConfigError) as refusal:
        load_concept_list(source)
    assert message in str(refusal.value)
    assert source in str(refusal.value)


def test_a_missing_list_is_refused_naming_the_embedded_ones(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no such file, and no embedded list of that name \(english, world\)"
    ):
        load_concept_list(str(tmp_path / "absent.txt"))


def test_the_embedded_list_has_every_wording_of_the_worlds_captions():
    truth = load_concept_list("world").truth
    wordings = {concept: {term for term in truth if truth[term] == concept} for concept in truth.values()}
    assert wordings == {concept: set(terms) for concept, terms in SYNONYMS.items()}


def test_the_english_list_is_of_everyday_size_and_holds_the_categories_of_coco():
    terms = load_concept_list("english").terms
    assert 1100 <= len(terms) <= 1300
    categories = set(COCO_CATEGORIES.split(", "))
    assert len(categories) == 80
    assert categories <= set(terms)
    assert all(term == term.lower().strip() and "," not in term for term in terms)
