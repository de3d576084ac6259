"""Vision-language models of other layouts than LLaVA's: tiny and random, with their own processors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaConfig,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlamaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

IMAGE_TOKEN, VOCABULARY = 3, 24
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
VISION: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
SIZE = {"height": 8, "width": 8}


class Layout(NamedTuple):
    """A model with its processor, and what stands for an image in its prompt."""

    model: PreTrainedModel
    processor: ProcessorMixin
    placeholder: str


def gemma3() -> Layout:
    """Attention among an image's tokens goes both ways, as the kinds of tokens say."""
    text = Gemma3TextConfig(**TEXT, head_dim=8, sliding_window=4).to_dict()
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False).to_dict(),
        text_config=text,
        image_token_index=IMAGE_TOKEN,
        mm_tokens_per_image=4,
    )
    names = {"image_token": "<img>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    words = tokenizer("<img>", "<boi>", "<eoi>", extra_special_tokens=names)
    processor = Gemma3Processor(Gemma3ImageProcessor(size=SIZE), words, image_seq_length=4)
    return Layout(Gemma3ForConditionalGeneration(config), processor, "<boi>")


def paligemma() -> Layout:
    """The prompt is read both ways, the answer is not."""
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**VISION, projection_dim=16, vision_use_head=False).to_dict(),
        text_config=GemmaConfig(**TEXT | {"num_key_value_heads": 1}, head_dim=8).to_dict(),
        image_token_index=IMAGE_TOKEN,
        projection_dim=16,
    )
    pictures = SiglipImageProcessor(size=SIZE)
    pictures.image_seq_length = 4
    processor = PaliGemmaProcessor(pictures, tokenizer("<image>", bos_token="a"))
    return Layout(PaliGemmaForConditionalGeneration(config), processor, "<image>")


def qwen2_vl() -> Layout:
    """Positions of three dimensions, which follow from the kinds of tokens."""
    rotation = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {"depth": 2, "embed_dim": 8, "hidden_size": 16, "num_heads": 2, "patch_size": 4}
    config = Qwen2VLConfig(
        vision_config=vision,
        text_config=TEXT | {"rope_parameters": rotation},
        image_token_id=IMAGE_TOKEN,
        video_token_id=12,
        vision_start_token_id=13,
        vision_end_token_id=14,
    )
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(min_pixels=256, max_pixels=512, patch_size=4, merge_size=2),
        tokenizer("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
        Qwen2VLVideoProcessor(),
    )
    return Layout(Qwen2VLForConditionalGeneration(config), processor, "<|image_pad|>")


def idefics3() -> Layout:
    """Images come in a list for every prompt."""
    config = Idefics3Config(
        vision_config=VISION,
        text_config=LlamaConfig(**TEXT).to_dict(),
        image_token_id=IMAGE_TOKEN,
        scale_factor=1,
    )
    longest = {"longest_edge": 8}
    processor = Idefics3Processor(
        Idefics3ImageProcessor(size=longest, max_image_size=longest),
        tokenizer("<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>"),
        image_seq_len=4,
    )
    return Layout(Idefics3ForConditionalGeneration(config), processor, "<image>")


LAYOUTS: dict[str, Callable[[], Layout]] = {
    "Gemma 3": gemma3,
    "PaliGemma": paligemma,
    "Qwen2-VL": qwen2_vl,
    "Idefics3": idefics3,
}


def random(layout: Callable[[], Layout]) -> Layout:
    """The layout with weights that are all random: some models begin with zeros between the image and the text."""
    torch.manual_seed(0)
    made = layout()
    for weight in made.model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.4)
    return made._replace(model=made.model.eval().requires_grad_(False))


def tokenizer(*special: str, **named: Any) -> PreTrainedTokenizerFast:
    """One token per word; the first of `special` is the image's."""
    words = [
        "<pad>",
        "</s>",
        "<unk>",
        special[0],
        "USER:",
        "ASSISTANT:",
        "a",
        "red",
        "boat",
        "cat",
        "Is",
        "there",
    ]
    ids = {word: index for index, word in enumerate([*words, *special[1:]])}
    backend = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(special),
        **named,
    )
