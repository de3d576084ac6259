import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.errors import BackboneError
from pipeline.language_models.decoder import VisionLanguageDecoder, pooled_states
from pipeline.language_models.options import PromptOptions

WORDS = ["<pad>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:", "a", "red", "boat", "cat", "Is", "there"]
PICTURES = [Image.new("RGB", (20, 12), colour) for colour in ("red", "navy", "white")]
TEXTS = ["a red boat", "a cat", "Is there a boat"]


def test_prompts_end_together_and_hold_every_image_token(decoder: VisionLanguageDecoder) -> None:
    ids = decoder.inputs(PICTURES, TEXTS)["input_ids"]
    assert ids[:, -1].tolist() == [WORDS.index("ASSISTANT:")] * 3
    assert (ids == WORDS.index("<image>")).sum(1).tolist() == [4, 4, 4]
    assert decoder.texts(ids[1:2]) == ["USER: a cat ASSISTANT:"]


@pytest.mark.parametrize("layer", [0, 2])
def test_mean_states_are_those_of_the_hidden_states_of_each_pair_alone(
    decoder: VisionLanguageDecoder, layer: int
) -> None:
    together = decoder.mean_states(decoder.inputs(PICTURES, TEXTS), layer)
    for row, (picture, text) in enumerate(zip(PICTURES, TEXTS, strict=True)):
        alone = decoder.inputs([picture], [text])
        states = decoder.model(**alone, output_hidden_states=True).hidden_states[layer][0]
        # "USER:", 4 image tokens, the text, "ASSISTANT:"
        assert len(states) == 5 + len(text.split()) + 1
        torch.testing.assert_close(together.vision[row], states[1:5].mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.text[row], states[5:].mean(0), atol=1e-5, rtol=1e-4)


def test_pooling_many_pairs_keeps_their_order_and_counts_them(decoder: VisionLanguageDecoder) -> None:
    calls: list[tuple[int, int]] = []
    opened = [lambda picture=picture: picture for picture in PICTURES]
    pooled = pooled_states(decoder, opened, TEXTS, 1, 2, lambda done, total: calls.append((done, total)))
    expected = decoder.mean_states(decoder.inputs(PICTURES, TEXTS), 1)
    torch.testing.assert_close(pooled.vision, expected.vision, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pooled.text, expected.text, atol=1e-5, rtol=1e-4)
    assert calls == [(2, 3), (3, 3)]
    assert pooled.vision.std(dim=0).max() > 0.01  # the pictures differ


def test_a_layer_that_does_not_exist_is_refused_before_any_work(decoder: VisionLanguageDecoder) -> None:
    with pytest.raises(BackboneError, match=r"layer 30: .* has 3 decoder layers"):
        pooled_states(decoder, PICTURES, TEXTS, 30)
    with pytest.raises(BackboneError, match="layer 3: "):
        decoder.mean_states(decoder.inputs(PICTURES, TEXTS), 3)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("USER: {text}", "needs <image> exactly once, and .* has it 0 times"),
        ("<image> <image> {text}", "has it 2 times"),
        ("{text} <image>", "<image> must come before {text}"),
    ],
)
def test_a_template_without_the_image_before_the_text_is_refused(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, template: str, complaint: str
) -> None:
    with pytest.raises(BackboneError, match=complaint):
        VisionLanguageDecoder(model, processor, PromptOptions(template=template))


def test_images_and_texts_that_do_not_pair_up_are_refused(decoder: VisionLanguageDecoder) -> None:
    with pytest.raises(BackboneError, match="3 images and 1 texts"):
        decoder.inputs(PICTURES, ["a cat"])
    with pytest.raises(BackboneError, match="0 images and 0 texts"):
        pooled_states(decoder, [], [], 0)
    with pytest.raises(BackboneError, match="contains the image's placeholder '<image>'"):
        decoder.inputs(PICTURES[:1], ["a <image> cat"])
