import json
from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.language_models.options import PollingOptions
from pipeline.language_models.polling import (
    NEGATIVES,
    Negatives,
    build_questions,
    question_text,
    read_objects,
)
from pipeline.language_models.questions import Question

OBJECTS = {
    "1.jpg": frozenset({"cat", "dog"}),
    "2.jpg": frozenset({"cat", "dog"}),
    "3.jpg": frozenset({"cat", "owl"}),
    "4.jpg": frozenset({"sun", "owl"}),
    "5.jpg": frozenset({"sun", "owl"}),
    "6.jpg": frozenset({"sun", "owl"}),
    "7.jpg": frozenset({"cat"}),
}
"""Popularity: cat 4, owl 4, sun 3, dog 2. Beside a cat: dog 2, owl 1, sun 0. Beside an owl: sun 3, cat 1."""


def name_in(question: Question) -> str:
    return question.text.removeprefix("Is there ").split()[1]


def negatives_beside(name: str, negatives: Negatives, shown: frozenset[str]) -> str:
    options = PollingOptions(images=1, objects=1)
    questions = build_questions({"new.jpg": shown & {name}}, negatives, options, OBJECTS)
    assert name_in(questions[0]) == name
    return name_in(questions[1])


def test_popular_negatives_are_the_most_frequent_absent_objects() -> None:
    assert negatives_beside("dog", "popular", frozenset({"dog"})) == "cat"  # as frequent as owl, but earlier
    assert negatives_beside("cat", "popular", frozenset({"cat"})) == "owl"


def test_adversarial_negatives_are_what_usually_stands_beside_the_object() -> None:
    assert negatives_beside("cat", "adversarial", frozenset({"cat"})) == "dog"
    assert negatives_beside("owl", "adversarial", frozenset({"owl"})) == "sun"
    assert negatives_beside("dog", "adversarial", frozenset({"dog"})) == "cat"


def test_an_object_that_statistics_never_saw_gets_the_most_popular_negative() -> None:
    assert negatives_beside("yak", "adversarial", frozenset({"yak"})) == "cat"


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_half_of_the_questions_are_true_and_none_is_asked_twice(negatives: Negatives) -> None:
    questions = build_questions(OBJECTS, negatives, PollingOptions(images=6, objects=2))
    assert [question.question_id for question in questions] == list(range(1, 25))
    for image in {question.image for question in questions}:
        asked = [question for question in questions if question.image == image]
        assert {name_in(question) for question in asked if question.label == "yes"} == OBJECTS[image]
        assert len({name_in(question) for question in asked}) == 4
        assert all((name_in(question) in OBJECTS[image]) == (question.label == "yes") for question in asked)


def test_all_kinds_ask_about_the_same_objects_and_a_seed_decides_which() -> None:
    def truths(negatives: Negatives, seed: int) -> list[tuple[str, str]]:
        questions = build_questions(OBJECTS, negatives, PollingOptions(images=4, objects=1, seed=seed))
        return [(question.image, question.text) for question in questions if question.label == "yes"]

    assert truths("random", 1) == truths("popular", 1) == truths("adversarial", 1)
    assert truths("random", 1) != truths("random", 2)


def test_the_order_of_images_does_not_matter() -> None:
    options = PollingOptions(images=3, objects=1)
    backwards = dict(reversed(OBJECTS.items()))
    assert build_questions(OBJECTS, "random", options) == build_questions(backwards, "random", options)


def test_too_few_images_or_absent_objects_are_refused() -> None:
    with pytest.raises(
        DatasetError, match=r"7 images with at least 2 objects are asked for, and there are 6"
    ):
        build_questions(OBJECTS, "random", PollingOptions(images=7, objects=2))
    everything = {"all.jpg": frozenset({"cat", "dog", "owl"})}
    with pytest.raises(DatasetError, match=r"all.jpg: no object is left"):
        build_questions(everything, "popular", PollingOptions(images=1, objects=3))


def test_the_article_fits_the_name() -> None:
    assert question_text("umbrella") == "Is there an umbrella in the image?"
    assert question_text("hat") == "Is there a hat in the image?"


def test_objects_are_read_from_a_coco_file(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5},
            {"id": 2, "image_id": 1, "category_id": 5},
            {"id": 3, "image_id": 1, "category_id": 6},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
    }
    path.write_text(json.dumps(content))
    assert read_objects(path) == {"a.jpg": {"cat", "dog"}, "b.jpg": frozenset()}
    content["categories"] = [{"id": 5, "name": "cat"}]
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="entry 3: names category 6, missing from 'categories'"):
        read_objects(path)
    with pytest.raises(DatasetError, match="no such file"):
        read_objects(tmp_path / "none.json")
    content["annotations"] = []
    for name, complaint in (
        ("a.jpg", "entry 2: 'file_name' 'a.jpg' is another image's too"),
        ("../b.jpg", "leaves"),
    ):
        content["images"][1]["file_name"] = name
        path.write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=complaint):
            read_objects(path)
