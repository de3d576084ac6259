"""Questions about what a picture shows, in POPE's file format: one JSON object per line.

"Evaluating Object Hallucination in Large Vision-Language Models" (POPE, arXiv 2305.10355). A line is
`{"question_id": 1, "image": "000000016631.jpg", "text": "Is there a person in the image?", "label": "yes"}`.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from cache import shown_value
from pipeline.datasets.regular_file import read_regular_file
from pipeline.datasets.strict_json import checked_value, parse_json
from pipeline.errors import DatasetError
from pipeline.runs.files import replace_file

Answer = Literal["yes", "no"]
_KEYS: dict[str, type] = {"question_id": int, "image": str, "text": str, "label": str}


class Question(NamedTuple):
    """A yes-or-no question about one image, and the true answer."""

    question_id: int
    image: str
    """The picture's file, relative to the folder of pictures."""
    text: str
    label: Answer


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
        entry = parse_json(line)
    except ValueError as error:
        raise DatasetError(f"{where}: not valid JSON: {error}; every line must be one question") from None
    if not isinstance(entry, dict):
        raise DatasetError(
            f"{where}: must be an object with the keys {', '.join(_KEYS)}, got {shown_value(entry)}"
        )
    try:
        values: dict[str, Any] = {key: checked_value(entry, key, kind) for key, kind in _KEYS.items()}
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from None
    label = values["label"].strip().lower()
    if label not in get_args(Answer):
        raise DatasetError(f"{where}: 'label' must be yes or no, got {shown_value(values['label'])}")
    return Question(values["question_id"], values["image"], values["text"], cast(Answer, label))
