import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.language_models.pope import PopeScores, parse_answer, score
from pipeline.language_models.questions import Answer


def test_scores_of_a_case_computed_by_hand() -> None:
    # 3 true yes, 2 false yes, 1 false no, 4 true no
    answers: list[Answer] = ["yes"] * 5 + ["no"] * 5
    labels: list[Answer] = ["yes"] * 3 + ["no"] * 2 + ["yes"] + ["no"] * 4
    assert score(answers, labels) == PopeScores(0.7, 0.6, 0.75, 6 / 9, 0.5)


def test_always_yes_has_full_recall_and_precision_one_half() -> None:
    assert score(["yes"] * 4, ["yes", "no"] * 2) == PopeScores(0.5, 0.5, 1.0, 2 / 3, 1.0)


def test_always_no_has_no_precision_to_speak_of() -> None:
    assert score(["no"] * 4, ["yes", "no"] * 2) == PopeScores(0.5, 0.0, 0.0, 0.0, 0.0)


@given(st.lists(st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no"])), min_size=1))
def test_f1_is_the_harmonic_mean_and_accuracy_the_share_of_agreement(
    pairs: list[tuple[Answer, Answer]],
) -> None:
    scores = score([answer for answer, _ in pairs], [label for _, label in pairs])
    assert scores.accuracy == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    total = scores.precision + scores.recall
    assert scores.f1 == pytest.approx(2 * scores.precision * scores.recall / total if total else 0)


def test_unanswered_questions_are_refused() -> None:
    with pytest.raises(DatasetError, match="1 answers to 2 questions"):
        score(["yes"], ["yes", "no"])
    with pytest.raises(DatasetError, match="0 answers to 0 questions"):
        score([], [])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, there is a cat.", "yes"),
        ("No, there is none.", "no"),
        ("There is not a cat in the image.", "no"),
        ("I don't see one.", "no"),
        ("Yes. There is no dog, though.", "yes"),
        ("A noble cat in the snow", "yes"),
        ("", "yes"),
    ],
)
def test_free_answers_are_read_as_pope_reads_them(text: str, answer: Answer) -> None:
    assert parse_answer(text) == answer
