"""Models of other layouts than LLaVA's are read and edited as they run, or refused in one line."""

from typing import Any

import pytest
import torch
from layouts import IMAGE_TOKEN, LAYOUTS, TEXT, VISION, Layout, random, tokenizer
from PIL import Image
from torch import Tensor
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    BlipImageProcessor,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    LlamaConfig,
    MllamaConfig,
    MllamaForConditionalGeneration,
    OPTConfig,
    PreTrainedModel,
    T5Config,
)

from pipeline.errors import BackboneError
from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.decoding import EditedDecoding
from pipeline.language_models.layers import check_layer
from pipeline.language_models.options import DecodingOptions, PromptOptions

PICTURES = [Image.new("RGB", (20, 12), colour) for colour in ("red", "navy")]
TEXTS = ["a red boat", "a cat"]
ONLY_EDITED = DecodingOptions(edited_weight=1.0, plausibility=0)
BLIP: dict[str, Any] = {
    "vision_config": VISION,
    "qformer_config": {
        "vocab_size": 24,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "encoder_hidden_size": 8,
    },
    "num_query_tokens": 4,
    "image_token_index": IMAGE_TOKEN,
}


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return random(LAYOUTS[request.param])


@pytest.fixture(scope="module")
def decoder(layout: Layout) -> VisionLanguageDecoder:
    template = f"USER: {layout.placeholder} {{text}} ASSISTANT:"
    return VisionLanguageDecoder(layout.model, layout.processor, PromptOptions(template=template))


def stay(_vision: Tensor, text: Tensor) -> Tensor:
    return torch.zeros_like(text)


def towards_the_image(vision: Tensor, text: Tensor) -> Tensor:
    return 2 * vision - text


class Compared(EditedDecoding):
    """Also keeps how far the second pass is from the first, at every token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        edited = super().__call__(input_ids, scores)
        difference = (edited - scores)[scores.isfinite()]
        self.errors = [*getattr(self, "errors", []), difference.abs().max().item()]
        return edited


def generated(model: PreTrainedModel, inputs: dict[str, Tensor], *processors: EditedDecoding) -> Tensor:
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": 23, "pad_token_id": 0}
    answer: Tensor = model.generate(**inputs, **options, bad_words_ids=[[3]], logits_processor=[*processors])
    return answer[:, inputs["input_ids"].shape[1] :]


def test_a_second_pass_without_an_edit_is_the_first_at_every_token(decoder: VisionLanguageDecoder) -> None:
    inputs = decoder.inputs(PICTURES, TEXTS)
    greedy = generated(decoder.model, inputs)
    compared = Compared(decoder.model, inputs, 1, stay, ONLY_EDITED)
    assert torch.equal(generated(decoder.model, inputs, compared), greedy)
    assert len(compared.errors) == 5 and max(compared.errors) < 1e-3
    moved = EditedDecoding(decoder.model, inputs, 1, towards_the_image, ONLY_EDITED)
    assert not torch.equal(generated(decoder.model, inputs, moved), greedy)


def test_states_of_a_pair_do_not_depend_on_its_batch_and_do_on_its_picture(
    decoder: VisionLanguageDecoder,
) -> None:
    together = decoder.mean_states(decoder.inputs(PICTURES, TEXTS), 1)
    alone = decoder.mean_states(decoder.inputs(PICTURES[1:], TEXTS[1:]), 1)
    other = decoder.mean_states(decoder.inputs(PICTURES[:1], TEXTS[1:]), 1)
    for side in ("vision", "text"):
        torch.testing.assert_close(getattr(together, side)[1:], getattr(alone, side), rtol=1e-4, atol=1e-4)
        assert (getattr(other, side) - getattr(alone, side)).abs().max() > 1e-3


def test_kinds_of_tokens_reach_the_models_that_read_them() -> None:
    gemma = random(LAYOUTS["Gemma 3"])
    decoder = VisionLanguageDecoder(gemma.model, gemma.processor, PromptOptions(template="<boi> {text}"))
    inputs = decoder.inputs(PICTURES, TEXTS)
    assert torch.equal(inputs["token_type_ids"], (inputs["input_ids"] == IMAGE_TOKEN).long())


def test_a_language_model_with_a_decoder_of_its_own_is_edited_too() -> None:
    text = OPTConfig(
        vocab_size=24,
        hidden_size=16,
        num_hidden_layers=3,
        ffn_dim=32,
        num_attention_heads=2,
        word_embed_proj_dim=16,
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(Blip2Config(**BLIP, text_config=text.to_dict())).eval()
    ids = torch.tensor([[3, 3, 3, 3, 6, 7], [3, 3, 3, 3, 8, 9]])
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
    compared = Compared(model, inputs, 1, stay, ONLY_EDITED)
    assert torch.equal(generated(model, inputs, compared), generated(model, inputs))
    assert max(compared.errors) < 1e-3


def mllama() -> PreTrainedModel:
    text = {"cross_attention_layers": [1], "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    vision = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_global_layers": 1,
        "attention_heads": 2,
        "vision_output_dim": 16,
        "image_size": 8,
        "patch_size": 4,
        "intermediate_layers_indices": [0],
    }
    return MllamaForConditionalGeneration(
        MllamaConfig(vision_config=vision, text_config=TEXT | text | {"bos_token_id": 2})
    )


def instructblip_t5() -> PreTrainedModel:
    text = T5Config(vocab_size=24, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return InstructBlipForConditionalGeneration(InstructBlipConfig(**BLIP, text_config=text.to_dict()))


def git() -> PreTrainedModel:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return GitForCausalLM(GitConfig(vision_config=VISION, vocab_size=24, **small))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (mllama, r"MllamaForConditionalGeneration: it reads the image through cross-attention"),
        (
            instructblip_t5,
            r"InstructBlipForConditionalGeneration: its text model is an encoder and a decoder",
        ),
        (git, r"GitForCausalLM: get_decoder\(\) has no list of layers"),
    ],
)
def test_models_whose_decoder_has_no_image_tokens_are_refused(make: Any, complaint: str) -> None:
    model = make()
    ids = torch.tensor([[3, 6]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for attempt in (
        lambda: check_layer(model, 0),
        lambda: EditedDecoding(model, inputs, 0, stay, ONLY_EDITED),
    ):
        with pytest.raises(BackboneError, match=complaint) as refused:
            attempt()
        assert "use a model like LlavaForConditionalGeneration" in str(refused.value)
        assert "\n" not in str(refused.value)


def test_processors_without_a_placeholder_for_the_image_are_refused() -> None:
    model = InstructBlipForConditionalGeneration(
        InstructBlipConfig(**BLIP, text_config=LlamaConfig(**TEXT).to_dict())
    )
    words = tokenizer("<image>")
    blip = InstructBlipProcessor(BlipImageProcessor(), words, words, num_query_tokens=4)
    with pytest.raises(BackboneError, match="InstructBlipProcessor sets the image before the prompt itself"):
        VisionLanguageDecoder(model, blip, PromptOptions())
    with pytest.raises(BackboneError, match="GitProcessor has no image_token"):
        VisionLanguageDecoder(git(), GitProcessor(CLIPImageProcessor(), words), PromptOptions())
