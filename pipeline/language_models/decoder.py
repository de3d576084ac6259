"""A Hugging Face vision-language decoder as a source of activations: its mean states for images and for texts.

VL-SAE (arXiv 2510.21323) reads LLaVA-1.5-7B at the input of layer 30: an image is the mean of the image tokens' states,
its text the mean of the states that follow them.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from pipeline.errors import BackboneError
from pipeline.language_models.layers import (
    check_layer,
    image_token_id,
    locate_tokens,
    mean_states,
    rewritten_input,
)
from pipeline.language_models.options import PromptOptions
from pipeline.progress import Advance

Inputs = dict[str, Tensor]
"""What the model's `forward` and `generate` take: `input_ids`, `attention_mask`, `pixel_values`, ..."""


class MeanStates(NamedTuple):
    """Pooled activations of both sides, rows of a pair at the same place; float32, on the CPU."""

    vision: Float[Tensor, "pair channel"]
    text: Float[Tensor, "pair channel"]


class VisionLanguageDecoder:
    """A frozen model like `LlavaForConditionalGeneration` with its processor and a prompt.

    Attributes:
        model: on its device, in evaluation mode.
        layers: number of decoder layers.
        channels: width of a state.
    """

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, prompt: PromptOptions) -> None:
        """Read this model's states behind this prompt.

        Raises:
            BackboneError: the template lacks the image's placeholder, or has the text first; the model
                or its processor has no image token; the model has no list of decoder layers.
        """
        self.model = model.train(False).requires_grad_(False)
        self.channels = int(model.config.get_text_config().hidden_size)
        self._processor: Any = processor
        self._placeholder = _placeholder(processor)
        self._image_token_id = image_token_id(model)
        self._template = prompt.template
        _check_template(prompt.template, self._placeholder)
        check_layer(model, 0)
        self._left_out = {"labels"}  # what the text of a training pair would be learned from
        if "token_type_ids" not in inspect.signature(model.forward).parameters:
            self._left_out.add("token_type_ids")  # some tokenizers give them to every model
        self._processor.tokenizer.padding_side = "left"  # so that every answer starts right behind its prompt

    def inputs(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Inputs:
        """One prompt per image and text, padded to the longest on the left, on the model's device.

        Raises:
            BackboneError: images and texts differ in number, or a text contains the image's placeholder.
        """
        if len(images) != len(texts) or not images:
            raise BackboneError(
                f"{len(images)} images and {len(texts)} texts: give one text per image, at least one"
            )
        placeholder = self._placeholder
        for text in texts:
            if placeholder in text:
                raise BackboneError(
                    f"the text {text!r:.80} contains the image's placeholder {placeholder!r}; remove it, "
                    "as the template already has one"
                )
        prompts = [self._template.replace("{text}", text) for text in texts]
        pictures = [[image.convert("RGB")] for image in images]  # those of each prompt
        batch = self._processor(images=pictures, text=prompts, padding=True, return_tensors="pt")
        dtype = self.model.dtype
        return {
            name: value.to(self.model.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in batch.items()
            if name not in self._left_out
        }

    @torch.inference_mode()
    def mean_states(self, inputs: Inputs, layer: int) -> MeanStates:
        """Mean state of the image tokens, and of the text after them, at the input of decoder layer `layer`.

        Raises:
            BackboneError: there is no such layer; a prompt was cut before its text.
        """
        places = locate_tokens(inputs["input_ids"], inputs["attention_mask"], self._image_token_id)
        found: list[MeanStates] = []

        def read(states: Tensor) -> Tensor:
            sides = (mean_states(states, where).cpu() for where in places)
            found.append(MeanStates(*sides))
            return states

        with rewritten_input(self.model, layer, read):
            self.model(**inputs, use_cache=False, logits_to_keep=1)
        return found[0]

    def texts(self, token_ids: Tensor) -> list[str]:
        """The words of each row of token ids, without special tokens."""
        decoded: list[str] = self._processor.batch_decode(token_ids, skip_special_tokens=True)
        return decoded


def pooled_states(
    decoder: VisionLanguageDecoder,
    images: Sequence[Image.Image] | Sequence[Callable[[], Image.Image]],
    texts: Sequence[str],
    layer: int,
    batch_size: int = 16,
    advance: Advance = lambda done, total: None,
) -> MeanStates:
    """The mean states of many pairs, in their order: what the auxiliary autoencoder is trained from.

    Args:
        decoder: the model and its prompt.
        images: pictures, or functions that open them when their turn comes.
        texts: one per image; captions, say.
        layer: whose input is read.
        batch_size: pairs in one forward pass.
        advance: receives (pairs done, pairs in all).

    Raises:
        BackboneError: images and texts differ in number; there is no such layer.
    """
    if len(images) != len(texts) or not images:
        raise BackboneError(
            f"{len(images)} images and {len(texts)} texts: give one text per image, at least one"
        )
    check_layer(decoder.model, layer)
    parts = []
    for start in range(0, len(images), batch_size):
        batch = [
            image if isinstance(image, Image.Image) else image()
            for image in images[start : start + batch_size]
        ]
        parts.append(decoder.mean_states(decoder.inputs(batch, texts[start : start + batch_size]), layer))
        advance(start + len(batch), len(images))
    return MeanStates(torch.cat([part.vision for part in parts]), torch.cat([part.text for part in parts]))


def _placeholder(processor: ProcessorMixin) -> str:
    if hasattr(processor, "num_query_tokens"):  # the family of BLIP
        raise BackboneError(
            f"{type(processor).__name__} sets the image before the prompt itself and pads between the two; use a model "
            "like LlavaForConditionalGeneration, whose prompt has a placeholder for the image"
        )
    placeholder = getattr(processor, "image_token", None)
    if placeholder is None:
        raise BackboneError(
            f"{type(processor).__name__} has no image_token; load the processor that belongs to the model"
        )
    return str(placeholder)


def _check_template(template: str, placeholder: str) -> None:
    if template.count(placeholder) != 1:
        raise BackboneError(
            f"hallucination.states.prompt.template: needs {placeholder} exactly once, and {template!r} has it "
            f"{template.count(placeholder)} times"
        )
    if template.index(placeholder) > template.index("{text}"):
        raise BackboneError(
            f"hallucination.states.prompt.template: {placeholder} must come before {{text}}, as the text's states are "
            f"those after the image (got {template!r})"
        )
