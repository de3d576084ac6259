"""A vision-language decoder from its folder or from the Hugging Face hub."""

from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor

from pipeline.errors import BackboneError
from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.layers import check_layer
from pipeline.language_models.options import StateOptions
from pipeline.training.loop import resolve_device

LOCAL, HUB = "local-dir:", "hf-hub:"

_LOADING_ERRORS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError),
    SafetensorError,
)
"""What transformers raises of folders that are no model, lack a part, or need a library that is not here."""


def load_decoder(options: StateOptions) -> VisionLanguageDecoder:
    """The model, its processor and the prompt, on the device.

    Raises:
        BackboneError: the model cannot be loaded, is of another kind, or does not have the layer.
        RunError: the device does not exist here.
    """
    device = resolve_device(options.device, "hallucination.states.device")
    source = options.model.removeprefix(HUB).removeprefix(LOCAL)
    if not options.model.startswith(HUB) and not Path(source).is_dir():
        raise BackboneError(
            f"hallucination.states.model: {source!r} is no folder; to download a model write {HUB}OWNER/NAME"
        )
    try:
        load_processor: Any = AutoProcessor.from_pretrained
        processor = load_processor(source, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(source, dtype="auto", trust_remote_code=False)
    except _LOADING_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackboneError(
            f"hallucination.states.model: {options.model!r} is no vision-language decoder that can be loaded "
            f"({reason}); it needs config.json, model.safetensors and a processor, as llava-hf/llava-1.5-7b-hf has them"
        ) from None
    check_layer(model, options.layer)
    cast(nn.Module, model).to(device)
    return VisionLanguageDecoder(model, processor, options.prompt)
