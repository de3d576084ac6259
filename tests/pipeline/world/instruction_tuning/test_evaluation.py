import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.language_models.decoder import VisionLanguageDecoder
from pipeline.language_models.examples import Example
from pipeline.language_models.options import PollingOptions, PromptOptions
from pipeline.world.instruction_tuning.evaluation import evaluate


def test_a_decoder_that_says_yes_to_everything_is_blind_and_recalls_all(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, examples: list[Example]
) -> None:
    yes, no = processor.tokenizer.convert_tokens_to_ids(["yes", "no"])
    with torch.no_grad():
        model.lm_head.weight.zero_()
    lowest = torch.full((len(processor.tokenizer),), -30.0)
    lowest[[yes, no]] = torch.tensor([0.8, 0.2]).log()
    model.lm_head.register_forward_hook(lambda _, __, logits: logits + lowest)
    pictures = {example.file.name: example for example in examples}
    shown = {name: example.objects for name, example in pictures.items()}
    opened: list[str] = []

    def picture(name: str) -> Image.Image:
        opened.append(name)
        return Image.open(pictures[name].file)

    figures = evaluate(
        VisionLanguageDecoder(model, processor, PromptOptions()),
        shown,
        shown,
        picture,
        PollingOptions(images=3, objects=1),
    )
    assert list(figures) == ["random", "popular", "adversarial", "blind"]
    expected = {"accuracy": 0.5, "precision": 0.5, "recall": 1.0, "f1": 0.6667, "yes_ratio": 1.0}
    loss = -torch.tensor([0.8, 0.2]).log().mean().item()
    assert all(one == expected | {"loss": pytest.approx(loss, abs=1e-3)} for one in figures.values())
    asked, wrong = opened[:6], opened[-6:]
    assert asked != wrong
