import pytest
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from pipeline.errors import BackboneError
from pipeline.language_models.layers import check_layer, locate_tokens, mean_states, rewritten_input


def test_tokens_before_the_image_and_padding_belong_to_no_side() -> None:
    ids = torch.tensor([[5, 3, 3, 6, 7, 0], [0, 4, 3, 3, 8, 9]])
    places = locate_tokens(ids, (ids != 0).long(), image_token_id=3)
    assert places.image.tolist() == [
        [False, True, True, False, False, False],
        [False, False, True, True, False, False],
    ]
    assert places.text.tolist() == [
        [False, False, False, True, True, False],
        [False, False, False, False, True, True],
    ]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([5, 6, 7], "row 1 of the batch has no image token"),
        ([5, 6, 3], "row 1 of the batch has no text after"),
    ],
)
def test_a_row_without_image_or_text_is_refused(row: list[int], complaint: str) -> None:
    ids = torch.tensor([[5, 3, 6], row])
    with pytest.raises(BackboneError, match=complaint):
        locate_tokens(ids, torch.ones_like(ids), image_token_id=3)


def test_mean_states_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(3, 7, 4, generator=generator)
    places = torch.rand(3, 7, generator=generator) < 0.5
    expected = torch.stack([states[row][places[row]].mean(0) for row in range(3)])
    torch.testing.assert_close(mean_states(states, places), expected)


@pytest.mark.parametrize("layer", [3, -1])
def test_a_layer_that_does_not_exist_is_refused(model: LlavaForConditionalGeneration, layer: int) -> None:
    with pytest.raises(
        BackboneError, match=f"layer {layer}: .* has 3 decoder layers; choose one from 0 to 2"
    ):
        check_layer(model, layer)


def test_a_model_without_decoder_layers_is_refused() -> None:
    with pytest.raises(BackboneError, match="Linear: get_decoder"):
        check_layer(nn.Linear(1, 1), 0)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_rewriting_sees_the_layers_input_and_ends_with_the_block(
    model: LlavaForConditionalGeneration, inputs: dict[str, Tensor], layer: int
) -> None:
    plain = model(**inputs, output_hidden_states=True)
    seen: list[Tensor] = []

    def negate(states: Tensor) -> Tensor:
        seen.append(states)
        return -states

    with rewritten_input(model, layer, negate):
        changed = model(**inputs)
    assert torch.equal(seen[0], plain.hidden_states[layer])
    assert not torch.allclose(changed.logits, plain.logits, atol=1e-2)
    assert torch.equal(model(**inputs).logits, plain.logits)
