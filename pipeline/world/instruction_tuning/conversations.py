"""What the tiny LLaVA is taught to say: yes-or-no questions about a scene's objects, and a caption."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from transformers import LlavaProcessor, PreTrainedTokenizerBase

from pipeline.language_models.examples import Example
from pipeline.language_models.options import PromptOptions
from pipeline.language_models.polling import question_text
from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.scenes.lexicon import VOCABULARY, words
from pipeline.world.scenes.scene import NOUNS

DESCRIBE = "Describe the image."
IGNORED = -100
"""The label of a token that is not to be predicted, as in transformers."""


class Turn(NamedTuple):
    """A request and its answer."""

    request: str
    answer: str


class Tokens(NamedTuple):
    """Conversations as the decoder reads them, padded at the end."""

    input_ids: Int64[Tensor, "conversation token"]
    labels: Int64[Tensor, "conversation token"]
    """The token itself where an answer is to be predicted, `IGNORED` elsewhere."""
    turn: Int64[Tensor, "conversation token"]
    """Number of the turn that a token belongs to, from 1; 0 for the image and what precedes it, -1 for padding."""
    position: Int64[Tensor, "conversation token"]
    """Place in the sequence of the image and this turn alone."""


def vocabulary() -> tuple[str, ...]:
    """List every word and mark that a conversation about a scene can contain, sorted."""
    spoken = [PromptOptions().template, DESCRIBE, "yes no", *map(question_text, NOUNS)]
    return tuple(
        sorted(
            {":", "?", ".", ","}
            | set(VOCABULARY)
            | {word for text in spoken for word in words(text)} - {"text"}
        )
    )


def draw_conversation(example: Example, options: InstructionTuningOptions, rng: random.Random) -> list[Turn]:
    """Draw questions about objects, each with probability `yes_share` about one that is there, and a caption.

    Turns do not see each other, so that a question that comes again is as hard as it was.
    """
    present, absent = sorted(example.objects), sorted(set(NOUNS) - example.objects)
    turns = []
    for _ in range(options.questions):
        true = rng.random() < options.yes_share
        turns.append(Turn(question_text(rng.choice(present if true else absent)), "yes" if true else "no"))
    return [*turns, Turn(DESCRIBE, rng.choice(example.captions))]


def tokenize_conversations(
    conversations: Sequence[Sequence[Turn]],
    processor: LlavaProcessor,
    image_tokens: int,
) -> Tokens:
    """Tokenize each conversation behind its image, in LLaVA-1.5's prompt; an answer's end token is predicted too."""
    tokenizer = processor.tokenizer
    end, pad = int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)
    before, after = PromptOptions().template.split(processor.image_token)
    image = _ids(tokenizer, before) + [int(processor.image_token_id)] * image_tokens
    rows = []
    for turns in conversations:
        row = [(token, IGNORED, 0, place) for place, token in enumerate(image)]
        for number, turn in enumerate(turns, start=1):
            request = _ids(tokenizer, after.replace("{text}", turn.request))
            answer = [*_ids(tokenizer, turn.answer), end]
            labels = [IGNORED] * len(request) + answer
            for place, (token, label) in enumerate(zip(request + answer, labels, strict=True), len(image)):
                row.append((token, label, number, place))
        rows.append(row)
    length = max(len(row) for row in rows)
    table = torch.tensor([row + [(pad, IGNORED, -1, 0)] * (length - len(row)) for row in rows])
    return Tokens(*table.unbind(2))


def visible(tokens: Tokens) -> Bool[Tensor, "conversation 1 token token"]:
    """Say which tokens each token sees: earlier ones of the image and of its own turn; padding sees itself."""
    turn = tokens.turn
    same = (turn[:, :, None] == turn[:, None]) | (turn[:, None] == 0)
    return (same & torch.ones(same.shape[1:], dtype=torch.bool).tril())[:, None]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))
