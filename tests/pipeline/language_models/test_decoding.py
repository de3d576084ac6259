import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from pipeline.errors import BackboneError
from pipeline.language_models.decoding import (
    Edit,
    EditedDecoding,
    masked_implausible,
    moved_text_states,
)
from pipeline.language_models.layers import locate_tokens, mean_states
from pipeline.language_models.options import DecodingOptions

IMAGE_TOKEN = 3
Inputs = dict[str, Tensor]


def towards_the_image(vision: Tensor, text: Tensor) -> Tensor:
    return 2 * vision - text


def stay(_vision: Tensor, text: Tensor) -> Tensor:
    return torch.zeros_like(text)


def generated(
    model: LlavaForConditionalGeneration,
    inputs: Inputs,
    edit: Edit | None,
    layer: int = 1,
    *,
    plain: bool = False,
    **options: float,
) -> Tensor:
    decoding = EditedDecoding(model, inputs, layer, edit, DecodingOptions(**options))
    answer: Tensor = model.generate(
        **inputs,
        max_new_tokens=6,
        do_sample=False,
        suppress_tokens=[IMAGE_TOKEN],
        logits_processor=[] if plain else [decoding],
    )
    return answer[:, inputs["input_ids"].shape[1] :]


def moved_by_hand(model: LlavaForConditionalGeneration, inputs: Inputs, edit: Edit) -> Tensor:
    """Logits of the pass whose text embeddings, the input of layer 0, were moved before anything read them."""
    image = torch.cat(list(model.get_image_features(inputs["pixel_values"]).pooler_output))
    embedded = model.get_input_embeddings()(inputs["input_ids"]).clone()
    embedded[inputs["input_ids"] == IMAGE_TOKEN] = image
    text = torch.tensor([[False] * 5 + [True] * 3] * 2)
    for row in range(2):
        states = embedded[row]
        means = states[inputs["input_ids"][row] == IMAGE_TOKEN].mean(0), states[text[row]].mean(0)
        states[text[row]] += edit(means[0][None], means[1][None])[0]
    output = model.model.language_model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"])
    logits: Tensor = model.lm_head(output.last_hidden_state[:, -1])
    return logits


def test_the_second_pass_is_that_of_embeddings_moved_by_hand(
    model: LlavaForConditionalGeneration, inputs: Inputs
) -> None:
    places = locate_tokens(inputs["input_ids"], inputs["attention_mask"], IMAGE_TOKEN)
    with moved_text_states(model, 0, places, towards_the_image):
        moved = model(**inputs).logits[:, -1]
    torch.testing.assert_close(moved, moved_by_hand(model, inputs, towards_the_image))
    assert (moved - model(**inputs).logits[:, -1]).abs().max() > 0.1


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_moved_states_are_the_text_states_and_no_others(
    model: LlavaForConditionalGeneration, inputs: Inputs, layer: int
) -> None:
    places = locate_tokens(inputs["input_ids"], inputs["attention_mask"], IMAGE_TOKEN)
    before = model(**inputs, output_hidden_states=True).hidden_states[layer]
    entering: list[Tensor] = []
    with moved_text_states(model, layer, places, towards_the_image):
        hook = model.model.language_model.layers[layer].register_forward_pre_hook(
            lambda _, args: entering.append(args[0])
        )
        model(**inputs)
        hook.remove()
    shift = towards_the_image(mean_states(before, places.image), mean_states(before, places.text))
    torch.testing.assert_close(entering[0], before + places.text[:, :, None] * shift[:, None])


@pytest.mark.parametrize("weight", [0.25, 0.6, 1.0])
def test_logits_are_the_two_passes_mixed(
    model: LlavaForConditionalGeneration, inputs: Inputs, weight: float
) -> None:
    clean = model(**inputs).logits[:, -1]
    options = DecodingOptions(edited_weight=weight, plausibility=0)
    decoding = EditedDecoding(model, inputs, 0, towards_the_image, options)
    expected = (1 - weight) * clean + weight * moved_by_hand(model, inputs, towards_the_image)
    torch.testing.assert_close(decoding(inputs["input_ids"], clean), expected)


def test_later_tokens_are_read_by_the_second_pass_too(
    model: LlavaForConditionalGeneration, inputs: Inputs
) -> None:
    clean = model(**inputs).logits[:, -1]
    options = DecodingOptions(edited_weight=1.0, plausibility=0)
    decoding = EditedDecoding(model, inputs, 1, stay, options)
    longer = torch.cat([inputs["input_ids"], torch.tensor([[12], [13]])], dim=1)
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    expected = model(input_ids=longer, attention_mask=mask, pixel_values=inputs["pixel_values"]).logits[:, -1]
    torch.testing.assert_close(decoding(longer, clean), expected)


@pytest.mark.parametrize(
    ("edit", "weight"),
    [(None, 0.6), (stay, 0.6), (towards_the_image, 0.0)],
    ids=["mask only", "a = 0", "c = 0"],
)
def test_without_an_edit_greedy_decoding_stays_greedy(
    model: LlavaForConditionalGeneration, inputs: Inputs, edit: Edit | None, weight: float
) -> None:
    greedy = generated(model, inputs, None, plain=True)
    assert torch.equal(generated(model, inputs, edit, edited_weight=weight, plausibility=0.8), greedy)


def test_the_edit_changes_what_is_generated_unless_the_mask_forbids_it(
    model: LlavaForConditionalGeneration, inputs: Inputs
) -> None:
    greedy = generated(model, inputs, None, plain=True)
    free = generated(model, inputs, towards_the_image, edited_weight=1.0, plausibility=0)
    held = generated(model, inputs, towards_the_image, edited_weight=1.0, plausibility=1)
    assert not torch.equal(free, greedy)
    assert torch.equal(held, greedy)


def test_the_mask_keeps_exactly_the_tokens_of_enough_probability() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, logits = torch.randn(2, 5, 40, generator=generator)
    probability = clean.double().softmax(-1)
    kept = probability >= 0.3 * probability.max(-1, keepdim=True).values
    masked = masked_implausible(logits, clean, 0.3)
    assert torch.equal(masked, torch.where(kept, logits, -torch.inf))
    assert 0 < kept.sum() < kept.numel()


def test_what_was_forbidden_before_stays_forbidden(
    model: LlavaForConditionalGeneration, inputs: Inputs
) -> None:
    clean = model(**inputs).logits[:, -1]
    clean[:, 4] = -torch.inf
    decoding = EditedDecoding(model, inputs, 1, towards_the_image, DecodingOptions(plausibility=0))
    logits = decoding(inputs["input_ids"], clean)
    assert (logits[:, 4] == -torch.inf).all() and logits.isfinite().sum() == logits.numel() - 2


def test_a_plausibility_of_zero_masks_nothing() -> None:
    logits = torch.tensor([[0.0, -1e9]])
    assert torch.equal(masked_implausible(logits, logits, 0), logits)


def test_sampled_answers_take_plausible_tokens_only(
    model: LlavaForConditionalGeneration, inputs: Inputs
) -> None:
    clean = model(**inputs).logits[:, -1].softmax(-1)
    plausible = clean >= 0.5 * clean.max(-1, keepdim=True).values
    many = {name: tensor[:1].repeat_interleave(60, dim=0) for name, tensor in inputs.items()}
    torch.manual_seed(0)
    for edit in (None, towards_the_image):
        decoding = EditedDecoding(model, many, 1, edit, DecodingOptions(plausibility=0.5))
        answers = model.generate(
            **many, max_new_tokens=1, do_sample=True, top_k=0, logits_processor=[decoding]
        )
        assert plausible[0, answers[:, -1]].all()


def test_beams_and_absent_layers_are_refused(model: LlavaForConditionalGeneration, inputs: Inputs) -> None:
    decoding = EditedDecoding(model, inputs, 1, None, DecodingOptions())
    with pytest.raises(BackboneError, match="4 sequences are decoded for 2 prompts"):
        model.generate(**inputs, num_beams=2, max_new_tokens=2, logits_processor=[decoding])
    with pytest.raises(BackboneError, match="layer 30: "):
        EditedDecoding(model, inputs, 30, None, DecodingOptions())
    textual = inputs | {"input_ids": torch.full_like(inputs["input_ids"], 7)}
    with pytest.raises(BackboneError, match="row 0 of the batch has no image token"):
        EditedDecoding(model, textual, 1, None, DecodingOptions())
