from pathlib import Path

import pytest
from msgspec import Raw

from pipeline.datasets.coco import CocoDataset
from pipeline.datasets.pairs import ImageRecord, ObjectAnnotation
from pipeline.errors import DatasetError
from pipeline.language_models.options import PollingOptions
from pipeline.language_models.polling import (
    NEGATIVES,
    Negatives,
    build_questions,
    objects_by_image,
    question_text,
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


def dataset_of(root: Path, *images: ImageRecord, instances: str | None = "") -> CocoDataset:
    return CocoDataset("pets", "val", root, "one", 0, images, ("", instances))


def image(number: int, file: str, *categories: str, unlocated: tuple[str, ...] = ()) -> ImageRecord:
    objects = tuple(ObjectAnnotation(name, (0, 0, 1, 1), Raw(), ()) for name in categories)
    return ImageRecord(number, Path(file), 8, 8, (), objects, None, unlocated)


def test_objects_are_those_of_the_data_set_also_of_crowds(tmp_path: Path) -> None:
    images = image(1, "val/a.jpg", "cat", "cat", unlocated=("dog",)), image(2, "val/more/b.jpg")
    shown = objects_by_image(dataset_of(tmp_path, *images))
    assert shown == {"a.jpg": {"cat", "dog"}, "more/b.jpg": frozenset()}
    with pytest.raises(DatasetError, match=r"'a\.jpg' is the file of two images of val"):
        objects_by_image(dataset_of(tmp_path, images[0], images[0]))
    with pytest.raises(DatasetError, match="no objects are annotated in val"):
        objects_by_image(dataset_of(tmp_path, *images, instances=None))
