"""Polls: questions by name, read from files or built of every kind and seed, about pictures that can be decoded."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import ConfigError, DatasetError
from pipeline.language_models.examples import Example, unusable_pictures
from pipeline.language_models.options import HallucinationOptions
from pipeline.language_models.polling import NEGATIVES, ObjectsByImage, build_questions
from pipeline.language_models.questions import Question, read_questions

Polls = Mapping[str, Sequence[Question]]
"""Questions by "KIND/SEED", or by the name of the file that they come from."""

Note = Callable[[str], None]
"""Receives what the user is told of what was left out."""


def read_polls(files: Sequence[Path], pictures: Path) -> Polls:
    """Read POPE files of questions about the pictures in a folder.

    Raises:
        DatasetError: there are no pictures, or a file is not of questions about them.
        ConfigError: two files have one name.
    """
    names = {path.name for path in pictures.glob("*")}
    if not names:
        raise DatasetError(f"{pictures}: no pictures there to ask about")
    polls: dict[str, Sequence[Question]] = {}
    for path in files:
        if path.stem in polls:
            raise ConfigError(
                f"questions: two files are called {path.stem!r}, and scores are told apart by it; rename one"
            )
        polls[path.stem] = read_questions(path, names)
    return polls


def build_polls(options: HallucinationOptions, shown: ObjectsByImage, trained: ObjectsByImage) -> Polls:
    """Build questions of every kind and seed about what is `shown`; popularity is that in the `trained` pictures.

    Raises:
        DatasetError: too few pictures show enough objects, or one shows too many.
    """
    polls = {}
    for kind in NEGATIVES:
        for seed in range(options.polling.seed, options.polling.seed + options.seeds):
            polling = options.polling.model_copy(update={"seed": seed})
            polls[f"{kind}/{seed}"] = build_questions(shown, kind, polling, trained)
    return polls


def usable_examples(examples: Sequence[Example], note: Note) -> list[Example]:
    """Leave out examples whose pictures cannot be decoded, and say so.

    Raises:
        DatasetError: none can be decoded, or one cannot be read.
    """
    unusable = _unusable((example.file for example in examples), "training pictures", note)
    return [example for example in examples if example.file not in unusable]


def usable_polls(polls: Polls, folder: Path, note: Note) -> Polls:
    """Leave out questions about pictures in `folder` that cannot be decoded, and say so.

    Raises:
        DatasetError: none can be decoded, or one cannot be read.
    """
    asked = sorted({folder / one.image for poll in polls.values() for one in poll})
    unusable = _unusable(asked, "pictures asked about", note)
    return {name: [one for one in poll if folder / one.image not in unusable] for name, poll in polls.items()}


def _unusable(pictures: Iterable[Path], what: str, note: Note) -> Mapping[Path, str]:
    files = list(pictures)
    unusable = unusable_pictures(files)
    if unusable:
        file, reason = next(iter(unusable.items()))
        found = f"{len(unusable)} of {len(files)} {what} cannot be used, such as {file} ({reason})"
        if len(unusable) == len(files):
            raise DatasetError(f"{found}; get the data set again")
        note(f"{found}; left out")
    return unusable
