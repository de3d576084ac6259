"""POPE's questions made from ground truth: each object that an image shows, beside one that it does not show.

"Evaluating Object Hallucination in Large Vision-Language Models" (POPE, arXiv 2305.10355), section 4. What makes a
question hard is which absent object it names: any ("random"), one that many pictures show ("popular"), or
one that usually stands beside what this picture shows ("adversarial").
"""

import os
import random
from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from cache import shown_value
from pipeline.datasets.pairs import PairDataset
from pipeline.errors import DatasetError
from pipeline.language_models.options import PollingOptions
from pipeline.language_models.questions import Question

Negatives = Literal["random", "popular", "adversarial"]
NEGATIVES: tuple[Negatives, ...] = get_args(Negatives)

ObjectsByImage: TypeAlias = Mapping[str, frozenset[str]]
"""Per image file the names of what it shows."""


def objects_by_image(dataset: PairDataset) -> ObjectsByImage:
    """Say what each image of a data set shows, by its file below the split's folder; nothing without annotations.

    Raises:
        DatasetError: the data set has no objects, or two images are in one file.
    """
    if not dataset.has_objects:
        raise DatasetError(f"{dataset.root}: no objects are annotated in {dataset.split} to be asked about")
    shown: dict[str, frozenset[str]] = {}
    for image in dataset.images:
        name = os.path.relpath(image.file, dataset.split)
        if name in shown:
            raise DatasetError(
                f"{dataset.root}: {shown_value(name)} is the file of two images of {dataset.split}"
            )
        shown[name] = image.categories
    return shown


def build_questions(
    objects: ObjectsByImage,
    negatives: Negatives,
    options: PollingOptions,
    statistics: ObjectsByImage | None = None,
) -> list[Question]:
    """Questions about a draw of the images, as many of truth "yes" as of truth "no".

    For every object asked about, one absent object not yet asked about follows it: at random, the one that most images
    show, or the one that most images show together with that object. Equals are taken in alphabetical order.

    Args:
        objects: what each image shows.
        negatives: which absent objects are named.
        options: how many, and the seed. All three kinds of negatives of one seed ask about the same objects.
        statistics: the images that popularity and co-occurrence are counted in, as those a model was trained on;
            `objects` itself by default, as in POPE.

    Raises:
        DatasetError: fewer images show `options.objects` objects than are asked for, or an image shows so much that too
            few absent objects are left.
    """
    ranking = _Ranking(objects if statistics is None else statistics)
    asked = [name for name in sorted(objects) if len(objects[name]) >= options.objects]
    if len(asked) < options.images:
        raise DatasetError(
            f"hallucination.polling.images: {options.images} images with at least {options.objects} objects are asked "
            f"for, and there are {len(asked)}; lower it, or hallucination.polling.objects"
        )
    images = random.Random(f"{options.seed}/images").sample(asked, options.images)
    questions: list[Question] = []
    for image in images:
        present = random.Random(f"{options.seed}/{image}").sample(sorted(objects[image]), options.objects)
        generator = random.Random(f"{options.seed}/{image}/negatives")
        taken = set(objects[image])
        for name in present:
            absent = _first_absent(ranking.order(negatives, name, generator), taken, image)
            taken.add(absent)
            questions.append(Question(len(questions) + 1, image, question_text(name), "yes"))
            questions.append(Question(len(questions) + 1, image, question_text(absent), "no"))
    return questions


def question_text(name: str) -> str:
    """POPE's wording, with the article that the name needs."""
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"Is there {article} {name} in the image?"


class _Ranking:
    """The names in the order in which they are tried as negatives."""

    def __init__(self, images: ObjectsByImage) -> None:
        self._popularity = Counter(name for shown in images.values() for name in shown)
        self._names = sorted(self._popularity)
        self._together: dict[str, Counter[str]] = {name: Counter() for name in self._names}
        for shown in images.values():
            for name in shown:
                self._together[name].update(shown - {name})

    def order(self, negatives: Negatives, beside: str, generator: random.Random) -> list[str]:
        """Every name, best first; those that never stand beside `beside` come last, the most popular first."""
        if negatives == "random":
            return generator.sample(self._names, len(self._names))
        together = (
            self._together.get(beside, Counter[str]()) if negatives == "adversarial" else Counter[str]()
        )
        return sorted(self._names, key=lambda name: (-together[name], -self._popularity[name], name))


def _first_absent(names: list[str], taken: set[str], image: str) -> str:
    for name in names:
        if name not in taken:
            return name
    raise DatasetError(
        f"{image}: no object is left that it does not show; lower hallucination.polling.objects"
    )
