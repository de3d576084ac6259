import json
from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.language_models.questions import Question, read_questions, write_questions

LINE = {"question_id": 1, "image": "a.jpg", "text": "Is there a cat in the image?", "label": "yes"}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "questions.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    questions = [
        Question(1, "a.jpg", "Is there a café?", "yes"),
        Question(2, "b.jpg", "Is there a cat?", "no"),
    ]
    write_questions(tmp_path / "new" / "questions.json", questions)
    assert read_questions(tmp_path / "new" / "questions.json") == questions


def test_lines_as_pope_publishes_them_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, LINE, LINE | {"question_id": 2, "label": "No", "category": "adversarial"})
    with path.open("a") as file:
        file.write("\n")
    assert [question.label for question in read_questions(path, {"a.jpg"})] == ["yes", "no"]


def test_a_question_about_an_absent_image_is_refused_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, LINE, LINE | {"question_id": 7, "image": "b.jpg"})
    with pytest.raises(DatasetError, match=r"questions.json:2: question 7 is about 'b.jpg'"):
        read_questions(path, {"a.jpg"})


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (LINE | {"label": "maybe"}, "'label' must be yes or no, got 'maybe'"),
        (LINE | {"question_id": "1"}, "'question_id' is '1': Expected `int`"),
        ({"question_id": 1}, "missing required field `image`"),
        ([1, 2], r"\[1, 2\]: Expected `object`"),
        (LINE | {"question_id": True}, "'question_id' is True: Expected `int`"),
        (LINE | {"question_id": 2**63}, "'question_id' is 9.*: Expected `int` <= 9"),
        (LINE | {"text": "a \ud83d?"}, r"'text': 'a .*ud83d.*surrogate"),
    ],
)
def test_a_line_that_is_no_question_is_refused(tmp_path: Path, line: object, complaint: str) -> None:
    with pytest.raises(DatasetError, match=complaint):
        read_questions(written(tmp_path, line))


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r":2: question_id 1 is also on line 1"):
        read_questions(written(tmp_path, LINE, LINE))


def test_a_file_without_questions_or_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_questions(tmp_path / "none.json")
    with pytest.raises(DatasetError, match="contains no question"):
        read_questions(written(tmp_path))
    for content in (b"Is there a cat?\n", b'{"text": "caf\xe9"}', b"[" * 100_000, b'{"text": 1, "text": 2}'):
        (tmp_path / "text.json").write_bytes(content)
        with pytest.raises(DatasetError, match=r"text.json:1: not one question in JSON") as error:
            read_questions(tmp_path / "text.json")
        assert "\n" not in str(error.value)


def test_only_the_end_of_a_line_ends_a_question(tmp_path: Path) -> None:
    questions = [Question(1, "a.jpg", "Is there a cat\u2028in the image?", "yes")]
    write_questions(tmp_path / "questions.json", questions)
    assert read_questions(tmp_path / "questions.json") == questions
