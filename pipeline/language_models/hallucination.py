"""How often a vision-language decoder names what is not there, with and without decoding held to the picture.

An answer to a POPE question is decided by its first token, so one clean pass and one with moved text states answer
it under every way of decoding; the comparison is of the same two passes throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from pipeline.datasets.pictures import read_upright
from pipeline.errors import BackboneError
from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.decoding import Edit, EditedDecoding, masked_implausible, mixed_logits
from pipeline.language_models.options import DecodingOptions, HallucinationOptions
from pipeline.language_models.polls import Polls
from pipeline.language_models.pope import PopeScores, parse_answer, score
from pipeline.language_models.questions import Question
from pipeline.language_models.table import Scores
from pipeline.progress import Advance, ProgressBar


class Strategy(NamedTuple):
    """A way of decoding: whether tokens are sampled, implausible ones masked, and the second pass mixed in."""

    sampled: bool
    masked: bool
    edited: bool


STRATEGIES: Mapping[str, Strategy] = {
    "greedy": Strategy(sampled=False, masked=False, edited=False),
    "greedy_mask": Strategy(sampled=False, masked=True, edited=False),
    "greedy_edit": Strategy(sampled=False, masked=True, edited=True),
    "sampled": Strategy(sampled=True, masked=False, edited=False),
    "sampled_mask": Strategy(sampled=True, masked=True, edited=False),
    "sampled_edit": Strategy(sampled=True, masked=True, edited=True),
}
"""VL-SAE's decoding and its controls. The mask never takes the likeliest token, so `greedy_mask` is `greedy`."""


class FirstLogits(NamedTuple):
    """Logits of the first token of every answer, float32: of the clean pass, and of the one with moved states."""

    clean: Float[Tensor, "question token_id"]
    edited: Float[Tensor, "question token_id"]


def first_logits(
    decoder: VisionLanguageDecoder,
    questions: Sequence[Question],
    picture: Callable[[str], Image.Image],
    layer: int,
    edit: Edit,
    batch_size: int = 16,
    advance: Advance = lambda done, total: None,
) -> FirstLogits:
    """Both passes of every question, in order.

    Args:
        decoder: the model and its prompt.
        questions: what is asked.
        picture: opens a question's image.
        layer: at whose input text states are moved.
        edit: how they are moved.
        batch_size: questions in one pass.
        advance: receives (questions done, questions in all).

    Raises:
        BackboneError: there is no such layer, or the logits are not numbers.
    """
    only_edited = DecodingOptions(edited_weight=1, plausibility=0)
    clean, edited = [], []
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        inputs = decoder.inputs([picture(one.image) for one in batch], [one.text for one in batch])
        with torch.inference_mode():
            logits = decoder.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float()
        second = EditedDecoding(decoder.model, inputs, layer, edit, only_edited)
        clean.append(logits.cpu())
        edited.append(second(inputs["input_ids"], logits).cpu())
        _refuse_not_a_number(decoder, clean[-1], edited[-1])
        advance(start + len(batch), len(questions))
    return FirstLogits(torch.cat(clean), torch.cat(edited))


def _refuse_not_a_number(decoder: VisionLanguageDecoder, *passes: Tensor) -> None:
    if any(bool(logits.isnan().any()) for logits in passes):
        raise BackboneError(
            f"{type(decoder.model).__name__}: logits are not numbers; look for values that are not finite in its "
            f"weights, or store those in a wider format than {decoder.model.dtype}"
        )


def first_tokens(
    logits: FirstLogits, strategy: Strategy, options: DecodingOptions, seed: int = 0
) -> Int64[Tensor, " question"]:
    """The token that each answer begins with; `seed` decides those that are sampled."""
    chosen = (
        mixed_logits(logits.clean, logits.edited, options.edited_weight) if strategy.edited else logits.clean
    )
    if strategy.masked:
        chosen = masked_implausible(chosen, logits.clean, options.plausibility)
    if not strategy.sampled:
        return chosen.argmax(dim=1)
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(chosen.softmax(dim=1), 1, generator=generator)[:, 0]


def pope_scores(
    decoder: VisionLanguageDecoder,
    questions: Sequence[Question],
    logits: FirstLogits,
    options: DecodingOptions,
    seed: int = 0,
) -> dict[str, PopeScores]:
    """POPE's scores of every strategy, by name."""
    labels = [question.label for question in questions]
    scores = {}
    for name, strategy in STRATEGIES.items():
        words = decoder.texts(first_tokens(logits, strategy, options, seed)[:, None])
        scores[name] = score([parse_answer(word) for word in words], labels)
    return scores


def score_polls(
    decoder: VisionLanguageDecoder,
    polls: Polls,
    pictures: Path,
    edit: Edit,
    options: HallucinationOptions,
    bar: ProgressBar,
) -> dict[str, Scores]:
    """Give POPE's scores of every poll; a question that is in several is asked once.

    Args:
        decoder: the model that is asked.
        polls: about pictures that can be decoded.
        pictures: the folder that they are in.
        edit: how states are moved in the second pass.
        options: the layer, the batches and the decoding.
        bar: shows how far it is.

    Raises:
        BackboneError: the model has no such layer, or gives logits that are not numbers.
    """
    asked = {(one.image, one.text): one for poll in polls.values() for one in poll}
    with bar("ask questions", "questions") as advance:
        logits = first_logits(
            decoder,
            list(asked.values()),
            lambda name: read_upright(pictures / name),
            options.states.layer,
            edit,
            options.states.batch_size,
            advance,
        )
    place = {key: number for number, key in enumerate(asked)}
    metrics: dict[str, Scores] = {}
    for seed, (name, poll) in enumerate(polls.items()):
        rows = [place[one.image, one.text] for one in poll]
        of_poll = FirstLogits(logits.clean[rows], logits.edited[rows])
        scores = pope_scores(decoder, poll, of_poll, options.decoding, seed)
        metrics[name] = {strategy: one._asdict() for strategy, one in scores.items()}
    return metrics
