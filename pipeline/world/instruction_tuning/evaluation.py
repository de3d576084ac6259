"""The figures of the tiny LLaVA's model card: does it look at the picture, and where does it hallucinate?"""

import random
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.options import PollingOptions
from pipeline.language_models.polling import NEGATIVES, ObjectsByImage, build_questions
from pipeline.language_models.pope import parse_answer, score
from pipeline.language_models.questions import Question

_BATCH = 50


def evaluate(
    decoder: VisionLanguageDecoder,
    shown: ObjectsByImage,
    trained: ObjectsByImage,
    picture: Callable[[str], Image.Image],
    polling: PollingOptions,
) -> dict[str, dict[str, float]]:
    """Compute POPE's scores of greedy answers, per kind of negatives, with the `loss` of "yes" and "no" in nat.

    "blind" asks the random questions about wrong pictures. Half of the questions deserve a "yes", so a decoder that
    does not look has a loss of at least 0.693.

    Args:
        decoder: the model and its prompt.
        shown: what the pictures asked about show.
        trained: what the training pictures show.
        picture: opens a picture.
        polling: the questions.
    """
    polls = {kind: build_questions(shown, kind, polling, trained) for kind in NEGATIVES}
    names = sorted(shown)
    wrong = dict(zip(names, random.Random(polling.seed).sample(names, len(names)), strict=True))
    figures = {kind: _figures(decoder, poll, picture) for kind, poll in polls.items()}
    return figures | {"blind": _figures(decoder, polls["random"], lambda name: picture(wrong[name]))}


@torch.inference_mode()
def _figures(
    decoder: VisionLanguageDecoder, questions: Sequence[Question], picture: Callable[[str], Image.Image]
) -> dict[str, float]:
    logits = []
    for start in range(0, len(questions), _BATCH):
        batch = questions[start : start + _BATCH]
        inputs = decoder.inputs([picture(one.image) for one in batch], [one.text for one in batch])
        logits.append(decoder.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu())
    first = torch.cat(logits)
    answers = [parse_answer(text) for text in decoder.texts(first.argmax(dim=1, keepdim=True))]
    words = decoder.texts(torch.arange(first.shape[1])[:, None])
    truth = torch.tensor([words.index(one.label) for one in questions])
    loss = cross_entropy(first, truth)
    scores = score(answers, [one.label for one in questions])._asdict() | {"loss": float(loss)}
    return {name: round(value, 4) for name, value in scores.items()}
