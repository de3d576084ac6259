from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.backbone.model import Backbone
from pipeline.language_models.examples import Example
from pipeline.language_models.loading import load_decoder
from pipeline.language_models.options import StateOptions
from pipeline.world.instruction_tuning.attention import use_explicit_attention


def test_the_vision_tower_sees_what_the_tiny_siglip_sees(
    model: LlavaForConditionalGeneration, siglip: Backbone, examples: list[Example], features: Tensor
) -> None:
    pixels = torch.stack([siglip.preprocess(Image.open(example.file)) for example in examples])
    expected = siglip.encode_images(pixels).tokens
    normed = model.model.vision_tower.post_layernorm(features.float())
    assert (normed - expected).abs().max() < 0.1
    assert torch.nn.functional.cosine_similarity(normed, expected, dim=-1).min() > 0.999


def test_its_folder_loads_like_any_other_and_answers_the_same(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, examples: list[Example], tmp_path: Path
) -> None:
    use_explicit_attention(model)  # as training leaves it
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    decoder = load_decoder(StateOptions(model=str(tmp_path), layer=1, device="cpu"))
    inputs = decoder.inputs([Image.open(examples[0].file)], ["Is there a boat in the image?"])
    assert decoder.model.config._attn_implementation != "explicit"
    with torch.no_grad():
        loaded = decoder.model(**inputs, logits_to_keep=1).logits[0, -1]
        model.set_attn_implementation("eager")
        expected = model.eval()(**inputs, logits_to_keep=1).logits[0, -1]
    torch.testing.assert_close(loaded, expected, rtol=1e-4, atol=1e-4)
