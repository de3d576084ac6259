"""What the tiny SigLIP is: its two towers, its preprocessing, and how its folder is written."""

from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file

from pipeline.runs.json_text import write_json
from pipeline.world.pretraining.tokenizer import END_ID

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
IMAGE_SIZE = 112
PATCH_SIZE = 8
GRID = IMAGE_SIZE // PATCH_SIZE
CONTEXT_LENGTH = 32


def open_clip_config(vocabulary: int) -> dict[str, Any]:
    """Give the `open_clip_config.json` of the tiny SigLIP for a tokenizer of `vocabulary` words.

    Vision: a plain ViT on 112 x 112 pixels in 8 x 8 patches, so the same 14 x 14 grid as ViT-B/16 at 224.
    Text: causal, pooled at the end token, so that padding never reaches a caption's embedding.
    The sigmoid loss has a learned bias, started at -10 as in SigLIP (arXiv 2303.15343, section 3.2).
    """
    return {
        "model_cfg": {
            "embed_dim": 128,
            "init_logit_scale": 2.302585092994046,
            "init_logit_bias": -10.0,
            "custom_text": True,
            "vision_cfg": {
                "image_size": IMAGE_SIZE,
                "patch_size": PATCH_SIZE,
                "width": 128,
                "head_width": 64,
                "layers": 4,
                "pool_type": "tok",
            },
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "tiny-siglip",
                "tokenizer_kwargs": {"clean": "lower"},
                "width": 128,
                "heads": 4,
                "layers": 3,
                "pad_id": END_ID,
                "eos_id": END_ID,
                "pool_type": "eos",
                "proj_bias": True,
            },
        },
        "preprocess_cfg": {
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "mode": "RGB",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def write_config(folder: Path, vocabulary: int) -> None:
    """Write `open_clip_config.json` into the model's folder."""
    write_json(folder / CONFIG_FILE, open_clip_config(vocabulary))


def create_model(folder: Path) -> CustomTextCLIP:
    """Create the model that `folder` describes, with its weights when they are there, else at random."""
    has_weights = (folder / WEIGHTS_FILE).is_file()
    model: CustomTextCLIP = open_clip.create_model(f"local-dir:{folder}", load_weights=has_weights)
    return model


def write_weights(folder: Path, model: CustomTextCLIP) -> None:
    """Write the weights as float32 safetensors under the name open_clip looks for."""
    state = {name: tensor.detach().float().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)
