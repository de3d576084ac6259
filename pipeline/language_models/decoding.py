"""Decoding held to the picture: at every token a second pass with moved text states, mixed into the first.

The decoding of VL-SAE (arXiv 2510.21323), whose mask of implausible tokens is that of contrastive decoding
(arXiv 2210.15097, section 3.3). Everything here works on a Hugging Face model's own `generate`:

    processor = EditedDecoding(model, inputs, layer=30, edit=edit, options=DecodingOptions())
    model.generate(**inputs, logits_processor=[processor], do_sample=True)
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel

from pipeline.errors import BackboneError
from pipeline.language_models.layers import (
    SideMasks,
    check_layer,
    image_token_id,
    locate_tokens,
    mean_states,
    rewritten_input,
)
from pipeline.language_models.options import DecodingOptions

Edit = Callable[[Float[Tensor, "pair channel"], Float[Tensor, "pair channel"]], Float[Tensor, "pair channel"]]
"""From the mean image and text states to what is added to each text state; `ConceptEdit` is one."""


def masked_implausible(
    logits: Float[Tensor, "pair token_id"],
    clean: Float[Tensor, "pair token_id"],
    plausibility: float,
) -> Float[Tensor, "pair token_id"]:
    """`logits` with -inf for every token whose `clean` logit is below `max + log(plausibility)`.

    The likeliest clean token is never masked. So greedy decoding of masked clean logits is plain greedy decoding, and
    the mask alone changes an answer only where answers are sampled.
    """
    if plausibility == 0:
        return logits
    floor = clean.max(dim=-1, keepdim=True).values + math.log(plausibility)
    return logits.masked_fill(clean < floor, -torch.inf)


def mixed_logits(
    clean: Float[Tensor, "pair token_id"], edited: Float[Tensor, "pair token_id"], edited_weight: float
) -> Float[Tensor, "pair token_id"]:
    """`(1 - c) clean + c edited`, exactly `clean` where both agree; a token of -inf in `clean` keeps it."""
    return torch.where(clean == -torch.inf, clean, torch.lerp(clean, edited, edited_weight))


@contextmanager
def moved_text_states(model: nn.Module, layer: int, places: SideMasks, edit: Edit) -> Iterator[None]:
    """While the block runs, text states that enter decoder layer `layer` are moved by `edit` of the mean states.

    To be used around whole forward passes: the means are of all tokens, and all text tokens move alike.

    Raises:
        BackboneError: there is no such layer.
    """

    def move(states: Float[Tensor, "pair token channel"]) -> Float[Tensor, "pair token channel"]:
        shift = edit(mean_states(states, places.image), mean_states(states, places.text))
        return states + places.text.to(states.device)[:, :, None] * shift.to(states.dtype)[:, None]

    with rewritten_input(model, layer, move):
        yield


class EditedDecoding(LogitsProcessor):
    """Gives `generate` the logits `(1 - c) z + c z_s` of plausible tokens, where z_s is the second pass's.

    The second pass reads the whole sequence again, without a key-value cache, because the mean text state that decides
    the shift changes with every token. What it costs grows with the length of answers: nothing to speak of for
    "yes" or "no".

    One instance serves one call of `generate`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        inputs: Mapping[str, Tensor],
        layer: int,
        edit: Edit | None,
        options: DecodingOptions,
    ) -> None:
        """Decode the answers to `inputs`.

        Args:
            model: a Hugging Face vision-language model like LlavaForConditionalGeneration.
            inputs: what is given to `generate`: `input_ids`, `attention_mask`, `pixel_values`, and what else the
                model reads.
            layer: the decoder layer at whose input text states are moved.
            edit: how; None for the control that only masks.
            options: see `DecodingOptions`.

        Raises:
            BackboneError: there is no such layer, or a row without image or text.
        """
        check_layer(model, layer)
        self._places = locate_tokens(inputs["input_ids"], inputs["attention_mask"], image_token_id(model))
        self._model, self._inputs, self._layer = model, dict(inputs), layer
        self._edit, self._options = edit, options

    def __call__(
        self, input_ids: Int64[Tensor, "pair token"], scores: Float[Tensor, "pair token_id"]
    ) -> Float[Tensor, "pair token_id"]:
        """Logits of the next token from the clean pass's `scores`; tokens that have -inf there keep it.

        Raises:
            BackboneError: `generate` decodes several beams, whose scores are no logits.
        """
        if len(input_ids) != len(self._inputs["input_ids"]):
            raise BackboneError(
                f"{len(input_ids)} sequences are decoded for {len(self._inputs['input_ids'])} prompts; edited decoding "
                "takes one each, so set num_beams and num_return_sequences to 1"
            )
        mixed = scores
        if self._edit is not None and self._options.edited_weight > 0:
            edited = self._second_pass(input_ids, self._edit).to(scores)
            mixed = mixed_logits(scores, edited, self._options.edited_weight)
        return masked_implausible(mixed, scores, self._options.plausibility)

    @torch.no_grad()
    def _second_pass(self, input_ids: Tensor, edit: Edit) -> Float[Tensor, "pair token_id"]:
        answer = torch.ones_like(input_ids[:, self._places.text.shape[1] :])
        places = SideMasks(
            torch.cat([self._places.image, answer == 0], dim=1),
            torch.cat([self._places.text, answer == 1], dim=1),
        )
        inputs = self._inputs | {"input_ids": input_ids}
        if answer.shape[1]:  # masks and kinds of tokens grow as they do in `generate`, each model knows how
            grow: Any = self._model._update_model_kwargs_for_generation
            inputs = grow({}, inputs, num_new_tokens=answer.shape[1])
        with moved_text_states(self._model, self._layer, places, edit):
            logits: Tensor = self._model(**inputs, use_cache=False, logits_to_keep=1).logits
        return logits[:, -1]
