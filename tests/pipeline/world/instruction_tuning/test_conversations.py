import random
from collections import Counter

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.examples import Example
from pipeline.language_models.options import PromptOptions
from pipeline.language_models.polling import question_text
from pipeline.world.instruction_tuning.attention import use_explicit_attention
from pipeline.world.instruction_tuning.conversations import (
    DESCRIBE,
    IGNORED,
    Turn,
    draw_conversation,
    tokenize_conversations,
)
from pipeline.world.instruction_tuning.loop import answer_losses
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.scenes.scene import NOUNS

TURNS = [
    Turn(question_text("boat"), "yes"),
    Turn(question_text("apple"), "no"),
    Turn(DESCRIBE, "a red boat at sea, and a fish"),
]


def test_questions_are_answered_truly_and_about_every_noun(examples: list[Example]) -> None:
    options = InstructionTuningOptions(questions=300, yes_share=0.6)
    turns = draw_conversation(examples[0], options, random.Random(0))
    truth = {question_text(noun): "yes" if noun in examples[0].objects else "no" for noun in NOUNS}
    assert all(truth[turn.request] == turn.answer for turn in turns[:-1])
    assert {turn.request for turn in turns[:-1]} == set(truth)
    assert abs(Counter(turn.answer for turn in turns[:-1])["yes"] / 300 - 0.6) < 0.1
    assert turns[-1].request == DESCRIBE
    assert turns[-1].answer in examples[0].captions


def test_a_question_is_read_as_the_decoder_will_be_asked_it(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor
) -> None:
    tokens = tokenize_conversations([TURNS[:1]], processor, 196)
    asked = VisionLanguageDecoder(model, processor, PromptOptions()).inputs(
        [Image.new("RGB", (32, 32))], [TURNS[0].request]
    )["input_ids"]
    assert torch.equal(tokens.input_ids[:, : asked.shape[1]], asked)
    assert processor.tokenizer.unk_token_id not in tokens.input_ids
    answer = tokens.input_ids[0, asked.shape[1] :]
    assert processor.tokenizer.convert_ids_to_tokens(answer.tolist()) == ["yes", "</s>"]
    assert torch.equal(tokens.labels[0, asked.shape[1] :], answer)
    assert (tokens.labels[0, : asked.shape[1]] == IGNORED).all()


@pytest.mark.parametrize("attention", ["explicit", "eager", "sdpa"])
def test_turns_do_not_see_each_other_and_padding_changes_nothing(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, features: Tensor, attention: str
) -> None:
    use_explicit_attention(model)
    model.set_attn_implementation(attention)

    def losses(conversations: list[list[Turn]], rows: list[int]) -> Tensor:
        tokens = tokenize_conversations(conversations, processor, 196)
        with torch.no_grad():
            return answer_losses(model, tokens, features[rows].float(), torch.tensor([]))[0]

    together = losses([TURNS, TURNS[:1]], [0, 1])
    alone = torch.cat([*(losses([[turn]], [0]) for turn in TURNS), losses([TURNS[:1]], [1])])
    torch.testing.assert_close(together, alone, atol=0.02, rtol=0.02)
