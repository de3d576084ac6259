"""What enters a layer of a vision-language decoder: to read it, and to change it on its way in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pipeline.errors import BackboneError

Rewrite = Callable[[Float[Tensor, "pair token channel"]], Float[Tensor, "pair token channel"]]
"""Receives the states that are about to enter a layer and returns those that shall."""


class SideMasks(NamedTuple):
    """Which tokens of each row of a batch belong to which side; the prompt before the image belongs to neither."""

    image: Bool[Tensor, "pair token"]
    text: Bool[Tensor, "pair token"]
    """What follows the image, without padding: the question, and then the answer so far."""


def locate_tokens(
    input_ids: Int64[Tensor, "pair token"],
    attention_mask: Int64[Tensor, "pair token"],
    image_token_id: int,
) -> SideMasks:
    """Find the image's tokens and the text after it.

    Raises:
        BackboneError: a row has no image token, or nothing follows them.
    """
    image = input_ids == image_token_id
    after = image.flip(1).cumsum(1).flip(1) == 0  # no image token here or later
    text = after & attention_mask.bool()
    for places, complaint in (
        (image, f"no image token (id {image_token_id}); the prompt needs the image's placeholder"),
        (text, "no text after the image; put the text behind the image's placeholder"),
    ):
        missing = (~places.any(1)).nonzero().flatten().tolist()
        if missing:
            raise BackboneError(f"row {missing[0]} of the batch has {complaint}")
    return SideMasks(image, text)


def mean_states(
    states: Float[Tensor, "pair token channel"], places: Bool[Tensor, "pair token"]
) -> Float[Tensor, "pair channel"]:
    """Mean state over each row's `places`, float32."""
    weights = places.to(states.device, torch.float32)
    total = torch.einsum("ptc,pt->pc", states.float(), weights)
    return total / weights.sum(1, keepdim=True)


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The transformer layers of the language model inside a Hugging Face vision-language model.

    Raises:
        BackboneError: it does not have a stack of layers where such models have it, `get_decoder().layers`; it reads
            the image in an encoder or through cross-attention, so that no token of its decoder is the image's.
    """
    config: Any = getattr(model, "config", None)
    if config is not None and (config.is_encoder_decoder or config.get_text_config().is_encoder_decoder):
        raise _unlike_llava(
            model, "its text model is an encoder and a decoder, and the encoder reads the image"
        )
    decoder = _decoder(model)
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise _unlike_llava(model, "get_decoder() has no list of layers")
    if any("cross_attn" in name for name, _ in cast(nn.Module, decoder).named_modules()):
        raise _unlike_llava(model, "it reads the image through cross-attention, not as tokens")
    return layers


def image_token_id(model: nn.Module) -> int:
    """The token that stands in the place of each state of an image.

    Raises:
        BackboneError: the model's configuration names none.
    """
    config: Any = model.config
    token_id = getattr(config, "image_token_id", None)
    if token_id is None:
        raise _unlike_llava(model, "its configuration has no image_token_id")
    return int(token_id)


def check_layer(model: nn.Module, layer: int) -> None:
    """Refuse a layer that the model does not have.

    Raises:
        BackboneError: naming the layers that there are.
    """
    count = len(decoder_layers(model))
    if not 0 <= layer < count:
        raise BackboneError(
            f"layer {layer}: {type(model).__name__} has {count} decoder layers; choose one from 0 to {count - 1}"
        )


def _decoder(model: nn.Module) -> nn.Module | None:
    """The innermost decoder: some models have a language model with a decoder of its own."""
    find: Any = getattr(model, "get_decoder", None)
    decoder = find() if find is not None else None
    if decoder is None or decoder is model or hasattr(decoder, "layers"):
        return cast(nn.Module | None, decoder)
    return _decoder(decoder)


def _unlike_llava(model: nn.Module, missing: str) -> BackboneError:
    return BackboneError(
        f"{type(model).__name__}: {missing}; use a model like LlavaForConditionalGeneration, a decoder that reads "
        "image tokens among its text tokens"
    )


@contextmanager
def rewritten_input(model: nn.Module, layer: int, rewrite: Rewrite) -> Iterator[None]:
    """While the block runs, the states that enter decoder layer `layer` are those that `rewrite` makes of them.

    Raises:
        BackboneError: there is no such layer.
    """
    check_layer(model, layer)

    def hook(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (rewrite(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": rewrite(kwargs["hidden_states"])}

    handle = decoder_layers(model)[layer].register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
