"""A LLaVA of a few thousand random weights: 2 x 2 patches, 3 decoder layers of width 16."""

import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.options import PromptOptions

sys.path.append(str(Path(__file__).parent))

WORDS = ["<pad>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:", "a", "red", "boat", "cat", "Is", "there"]
PROMPT = PromptOptions(template="USER: <image> {text} ASSISTANT:")
CHANNELS, LAYERS, PATCHES, VOCABULARY = 16, 3, 4, 24
END, IMAGE_TOKEN = 1, 3


def tiny_llava(seed: int = 0) -> LlavaForConditionalGeneration:
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=CHANNELS,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=END,
        pad_token_id=0,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN, image_seq_length=PATCHES
    )
    return LlavaForConditionalGeneration(config).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def model() -> LlavaForConditionalGeneration:
    return tiny_llava()


@pytest.fixture(scope="session")
def processor() -> LlavaProcessor:
    """Small pictures, and one token per word of `WORDS`."""
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    size = {"height": 8, "width": 8}
    pictures = CLIPImageProcessor(size=size, crop_size=size)
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


@pytest.fixture(scope="session")
def decoder(model: LlavaForConditionalGeneration, processor: LlavaProcessor) -> VisionLanguageDecoder:
    return VisionLanguageDecoder(model, processor, PROMPT)


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    """Two prompts of one image each, the second padded on the left."""
    image = [IMAGE_TOKEN] * PATCHES
    ids = torch.tensor([[5, *image, 6, 7, 8], [0, *image, 9, 10, 11]])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "pixel_values": torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
    }
