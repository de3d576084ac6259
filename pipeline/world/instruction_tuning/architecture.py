"""The tiny LLaVA: a Hugging Face `LlavaForConditionalGeneration` around the vision tower of the tiny SigLIP.

Its folder is that of any Hugging Face model: `from_pretrained` reads it without this code.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from open_clip.model import CustomTextCLIP
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
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

from pipeline.world.instruction_tuning.options import InstructionTuningOptions
from pipeline.world.pretraining.architecture import GRID, IMAGE_SIZE, PATCH_SIZE

PAD, END, UNKNOWN, IMAGE = "<pad>", "</s>", "<unk>", "<image>"
SPECIAL = (PAD, END, UNKNOWN, IMAGE)
LONGEST = 400
"""Tokens of the longest sequence: an image's 196 and a caption leave room to spare."""
_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def create_processor(words: Iterable[str]) -> LlavaProcessor:
    """Create what turns pictures into pixels as the tiny SigLIP wants them, and texts into one token per word."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    new_texts: Any = PreTrainedTokenizerFast  # transformers' constructors are not typed
    texts = new_texts(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=LONGEST,
        extra_special_tokens={"image_token": IMAGE},
    )
    size, half = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}, [0.5, 0.5, 0.5]
    new_processor: Any = LlavaProcessor
    processor: LlavaProcessor = new_processor(
        CLIPImageProcessor(size=size, crop_size=size, image_mean=half, image_std=half),
        texts,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return processor


def create_tiny_llava(
    siglip: CustomTextCLIP, vocabulary: int, options: InstructionTuningOptions
) -> LlavaForConditionalGeneration:
    """Create a model of new random weights, drawn from the seed, around the frozen vision tower of `siglip`.

    The projector is linear, as the first LLaVA's: two linear layers with nothing between.
    """
    visual = siglip.visual
    width, blocks = visual.conv1.weight.shape[0], len(visual.transformer.resblocks)
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=blocks,
        num_attention_heads=width // 64,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=options.feed_forward,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=LONGEST,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=None,
        initializer_range=width**-0.5,
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=SPECIAL.index(IMAGE),
        image_seq_length=GRID * GRID,
        vision_feature_layer=-1,
        projector_hidden_act="linear",
    )
    torch.manual_seed(options.seed)
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(_as_clip_vision(visual.state_dict(), blocks))
    model.model.vision_tower.requires_grad_(False)
    return model


def _as_clip_vision(state: dict[str, Float[Tensor, "..."]], blocks: int) -> dict[str, Float[Tensor, "..."]]:
    """Rename open_clip's ViT weights to those of transformers' CLIPVisionModel, which is the same function."""
    named = {
        "embeddings.class_embedding": state["class_embedding"],
        "embeddings.patch_embedding.weight": state["conv1.weight"],
        "embeddings.position_embedding.weight": state["positional_embedding"],
    }
    for theirs, ours in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        named |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    for block in range(blocks):
        theirs, ours = f"encoder.layers.{block}", f"transformer.resblocks.{block}"
        for kind in ("weight", "bias"):
            joint = state[f"{ours}.attn.in_proj_{kind}"].chunk(3)
            for letter, part in zip("qkv", joint, strict=True):
                named[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part
            for name, other in _BLOCK.items():
                named[f"{theirs}.{name}.{kind}"] = state[f"{ours}.{other}.{kind}"]
    return {name: tensor.clone() for name, tensor in named.items()}
