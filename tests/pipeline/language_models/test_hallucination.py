import pytest
import torch
from PIL import Image
from torch import Tensor

from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.decoding import EditedDecoding
from pipeline.language_models.hallucination import (
    STRATEGIES,
    FirstLogits,
    first_logits,
    first_tokens,
    pope_scores,
)
from pipeline.language_models.options import DecodingOptions
from pipeline.language_models.questions import Question

YES, NO, OTHER = 0, 1, 2
QUESTIONS = [Question(n, f"{n}.jpg", "Is there a boat", "yes" if n % 2 else "no") for n in range(1, 6)]


def away(_vision: Tensor, text: Tensor) -> Tensor:
    return -3 * text


def picture(name: str) -> Image.Image:
    return Image.new("RGB", (9, 9), (40 * int(name[0]), 20, 90))


def test_first_logits_are_those_that_generate_sees(decoder: VisionLanguageDecoder) -> None:
    calls: list[int] = []
    logits = first_logits(decoder, QUESTIONS, picture, 1, away, 2, lambda done, _: calls.append(done))
    assert calls == [2, 4, 5]
    assert (logits.clean - logits.edited).abs().max() > 0.1
    options = DecodingOptions(edited_weight=0.6, plausibility=0.1)
    for row, question in enumerate(QUESTIONS):
        inputs = decoder.inputs([picture(question.image)], [question.text])
        decoding = EditedDecoding(decoder.model, inputs, 1, away, options)
        for name, processors in (("greedy", []), ("greedy_edit", [decoding])):
            answer = decoder.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, logits_processor=processors
            )
            assert answer[0, -1] == first_tokens(logits, STRATEGIES[name], options)[row]


def two_passes() -> FirstLogits:
    """Clean odds of yes to no to other: 10 : 9 : 1 and 10 : 1 : 1; the edited pass is for no in both."""
    clean = torch.tensor([[10.0, 9.0, 1.0], [10.0, 1.0, 1.0]]).log()
    return FirstLogits(clean, torch.tensor([[1.0, 10.0, 1.0], [1.0, 10.0, 1.0]]).log())


def test_the_edit_decides_between_plausible_tokens_only() -> None:
    options = DecodingOptions(edited_weight=0.6, plausibility=0.8)
    assert first_tokens(two_passes(), STRATEGIES["greedy"], options).tolist() == [YES, YES]
    assert first_tokens(two_passes(), STRATEGIES["greedy_mask"], options).tolist() == [YES, YES]
    assert first_tokens(two_passes(), STRATEGIES["greedy_edit"], options).tolist() == [NO, YES]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sampled", [0.5, 0.45, 0.05]), ("sampled_mask", [10 / 19, 9 / 19, 0.0])],
)
def test_sampled_tokens_have_the_probabilities_of_the_logits(name: str, expected: list[float]) -> None:
    first = FirstLogits(*(part[:1].expand(20_000, -1) for part in two_passes()))
    tokens = first_tokens(first, STRATEGIES[name], DecodingOptions(), seed=1)
    shares = torch.bincount(tokens, minlength=3) / len(tokens)
    torch.testing.assert_close(shares, torch.tensor(expected), atol=0.015, rtol=0)
    assert torch.equal(tokens, first_tokens(first, STRATEGIES[name], DecodingOptions(), seed=1))
    assert not torch.equal(tokens, first_tokens(first, STRATEGIES[name], DecodingOptions(), seed=2))


def test_scores_are_those_of_the_answers_read_as_words(decoder: VisionLanguageDecoder) -> None:
    # The tiny tokenizer knows neither "yes" nor "no", and what is not "no" counts as "yes".
    logits = first_logits(decoder, QUESTIONS, picture, 1, away)
    scores = pope_scores(decoder, QUESTIONS, logits, DecodingOptions())
    assert set(scores) == set(STRATEGIES)
    assert scores["greedy"].yes_ratio == 1 and scores["greedy"].accuracy == 0.6
