"""What the frozen vision tower makes of the pictures: computed once, as no step of training changes it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.datasets.pictures import read_upright
from pipeline.progress import Advance

_BATCH = 64


@torch.inference_mode()
def image_features(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    files: Sequence[Path],
    advance: Advance = lambda done, total: None,
) -> Float[Tensor, "image patch channel"]:
    """Compute what the vision tower hands to the projector, in float16 to halve the memory of a large set."""
    features = []
    for start in range(0, len(files), _BATCH):
        pictures = [read_upright(file) for file in files[start : start + _BATCH]]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
        states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        features.append(states[:, 1:].half())
        advance(start + len(pictures), len(files))
    return torch.cat(features)
