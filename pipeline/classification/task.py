"""A task of zero-shot classification: pictures of known class, scored by several dictionaries, in splits."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.classification.comparison import compare
from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.classification.image_folder import (
    DEFAULT_TEMPLATES,
    ImageFolder,
    fill_templates,
    open_image_folder,
    refuse_other_classes,
)
from pipeline.classification.options import ClassificationOptions
from pipeline.classification.pictures import LabelledPicture
from pipeline.classification.scoring import score_pictures
from pipeline.classification.splits import Split, stratified_split
from pipeline.errors import ConfigError
from pipeline.progress import ProgressBar


class Task(NamedTuple):
    """What was measured.

    Attributes:
        described: classes and templates, and what was skipped.
        splits: per dictionary its pictures, in the same splits.
        overlap: what `half_width` is to know of the splits.
    """

    described: Mapping[str, Any]
    splits: Sequence[Sequence[Split]]
    overlap: float = 0.0


class Folders(NamedTuple):
    """Pictures of the user's, by class.

    Attributes:
        images: the folder that is scored.
        tuning: one of the same classes to tune alpha on; without it, `images` is split.
        templates: prompts with {} for the class.
    """

    images: Path
    tuning: Path | None = None
    templates: Sequence[str] = DEFAULT_TEMPLATES


def compare_dictionaries(
    task: Task, options: ClassificationOptions, kinds: Mapping[str, int]
) -> dict[str, Any]:
    """What is said of a task: its description, its counts, and of every kind of dictionary what `compare` gives.

    Args:
        task: The splits of all dictionaries.
        options: The alphas.
        kinds: How many of the dictionaries, in their order, are of each kind, such as trained ones.

    Raises:
        ConfigError: a split tunes on pictures that it scores.
    """
    first = task.splits[0]
    counts = {
        "splits": len(first),
        "tuning_pictures": len(first[0].tuning),
        "test_pictures": len(first[0].test),
    }
    remaining = iter(task.splits)
    compared = {
        kind: compare([next(remaining) for _ in range(count)], options, task.overlap)
        for kind, count in kinds.items()
    }
    return {**task.described, **counts, **compared}


def open_folders(folders: Folders) -> list[ImageFolder]:
    """The folder that is scored, and the one to tune on, if there is one.

    Raises:
        ConfigError: both are one folder, or they have different classes.
        DatasetError: a folder does not hold one folder of pictures per class.
    """
    if folders.tuning and folders.images.resolve() == folders.tuning.resolve():
        raise ConfigError(
            "tuning pictures: alpha must not be tuned on the pictures that are scored, and both are "
            f"{folders.images}; name no second folder, and that one is split"
        )
    opened = [open_image_folder(path) for path in (folders.images, folders.tuning) if path]
    if len(opened) == 2:
        refuse_other_classes(opened[1], opened[0])
    return opened


def score_folders(
    encoder: ConceptEncoder,
    options: ClassificationOptions,
    folders: Sequence[ImageFolder],
    templates: Sequence[str],
    bar: ProgressBar,
) -> Task:
    """Score the first folder; a second one is tuned on, otherwise every seed splits the first.

    Raises:
        ConfigError: a template has no place for the class.
        DatasetError: of a class no picture can be used, or too few to be split.
    """
    names = folders[0].classes
    classes = encoder.classes(fill_templates(names, templates))
    scored = [score_pictures(encoder, classes, _read(folder, bar), options.batch_size) for folder in folders]
    skipped = {
        f"{folder.root}/{file}": reason for folder in folders for file, reason in folder.skipped.items()
    }
    described = {"classes": len(names), "templates": list(templates), "skipped": skipped}
    if len(folders) == 2:
        return Task(described, [[Split(tuning, test)] for test, tuning in zip(*scored, strict=True)])
    splits = [
        [stratified_split(pictures, names, options.tuning_share, seed) for seed in range(options.seeds)]
        for pictures in scored[0]
    ]
    return Task(described, splits, overlap=len(splits[0][0].test) / len(splits[0][0].tuning))


def _read(folder: ImageFolder, bar: ProgressBar) -> Iterator[LabelledPicture]:
    with bar(f"read {folder.root}", "pictures") as advance:
        total = len(folder.skipped) + sum(map(len, folder.files.values()))
        for number, picture in enumerate(folder.read(), start=1):
            yield picture
            advance(number + len(folder.skipped), total)
