"""Questions about what a picture shows, in POPE's file format: one JSON object per line.

"Evaluating Object Hallucination in Large Vision-Language Models" (POPE, arXiv 2305.10355). A line is
`{"question_id": 1, "image": "000000016631.jpg", "text": "Is there a person in the image?", "label": "yes"}`.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from msgspec import Struct
from msgspec.json import Decoder

from cache import shown_value
from pipeline.datasets.regular_file import read_regular_file
from pipeline.datasets.strict_json import Identifier, decode_json, refuse_repeated_keys
from pipeline.errors import DatasetError
from pipeline.runs.files import replace_file

Answer = Literal["yes", "no"]


class Question(NamedTuple):
    """A yes-or-no question about one image, and the true answer."""

    question_id: int
    image: str
    """The picture's file, relative to the folder of pictures."""
    text: str
    label: Answer


class _Line(Struct):
    question_id: Identifier
    image: str
    text: str
    label: str


_LINE = Decoder(_Line)


def read_questions(path: Path, images: Collection[str] | None = None) -> list[Question]:
    """Read a file of questions; keys beyond the four are passed over, blank lines too.

    Args:
        path: JSON lines.
        images: the files that there are to ask about; None to not check.

    Raises:
        DatasetError: the file is missing or empty, a line is not a question, an id occurs twice, or a question is
            about an image that is not in `images`; the message names the file and the line.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; a POPE question file is JSON lines")
    questions: list[Question] = []
    seen: dict[int, int] = {}
    for number, line in enumerate(read_regular_file(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        question = _parse(line, f"{path}:{number}")
        if question.question_id in seen:
            first = seen[question.question_id]
            raise DatasetError(f"{path}:{number}: question_id {question.question_id} is also on line {first}")
        if images is not None and question.image not in images:
            raise DatasetError(
                f"{path}:{number}: question {question.question_id} is about {shown_value(question.image)}, "
                f"which is not among the {len(images)} images; give the data set that the questions were made for"
            )
        seen[question.question_id] = number
        questions.append(question)
    if not questions:
        raise DatasetError(f"{path}: contains no question")
    return questions


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write the questions as POPE's JSON lines, replacing the file; its folder is created.

    Raises:
        RunError: the file cannot be written.
    """
    lines = [json.dumps(question._asdict(), ensure_ascii=False) + "\n" for question in questions]
    replace_file(path, "".join(lines).encode())


def _parse(line: bytes, where: str) -> Question:
    try:
        refuse_repeated_keys(line)
        entry = decode_json(line, _LINE)
    except ValueError as error:
        raise DatasetError(f"{where}: not one question in JSON: {error}") from None
    label = entry.label.strip().lower()
    if label not in get_args(Answer):
        raise DatasetError(f"{where}: 'label' must be yes or no, got {shown_value(entry.label)}")
    return Question(entry.question_id, entry.image, entry.text, cast(Answer, label))
