import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.backbone.model import Backbone
from pipeline.language_models.examples import Example
from pipeline.language_models.polling import question_text
from pipeline.world.instruction_tuning.alignment import align_with_siglip
from pipeline.world.instruction_tuning.conversations import Turn, tokenize_conversations, visible
from pipeline.world.scenes.scene import NOUNS


def test_patches_and_nouns_are_as_alike_as_in_siglip(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, siglip: Backbone, features: Tensor
) -> None:
    ids = processor.tokenizer.convert_tokens_to_ids(list(NOUNS))
    token_ids, _ = siglip.tokenize([f"a photo of a {noun}" for noun in NOUNS])
    with torch.no_grad():
        patches = model.model.multi_modal_projector(features.float()).flatten(0, 1)
        nouns = model.get_input_embeddings().weight[ids]
        normed = model.model.vision_tower.post_layernorm(features.float())
    seen = siglip.patch_embeddings(normed).flatten(0, 1)
    said = normalize(siglip.encode_texts(token_ids).pooled, dim=1)
    expected = normalize(seen - seen.mean(0), dim=1) @ normalize(said - said.mean(0), dim=1).T
    actual = cosine_similarity(patches[:, None], nouns, dim=-1)
    assert torch.corrcoef(torch.stack([actual.flatten(), expected.flatten()]))[0, 1] > 0.85


def test_before_training_a_noun_looks_at_the_picture_that_shows_it(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    features: Tensor,
    examples: list[Example],
) -> None:
    tokens = tokenize_conversations([[Turn(question_text(noun), "yes") for noun in NOUNS]], processor, 196)
    words = model.get_input_embeddings()(tokens.input_ids)
    ids = torch.tensor(processor.tokenizer.convert_tokens_to_ids(list(NOUNS)))
    places = (tokens.input_ids[0] == ids[:, None]).int().argmax(dim=1)
    looks = torch.zeros(len(examples), len(NOUNS))
    model.set_attn_implementation("eager")
    for row in range(len(examples)):
        with torch.no_grad():
            patches = model.model.multi_modal_projector(features[row : row + 1].float())
            attention = model.model.language_model(
                inputs_embeds=torch.cat([words[:, :2], patches, words[:, 198:]], dim=1),
                attention_mask=torch.where(visible(tokens), 0.0, -torch.inf),
                position_ids=tokens.position,
                output_attentions=True,
                use_cache=False,
            ).attentions[0]
        looks[row] = attention[0, :, places, 2:198].sum(dim=-1).mean(dim=0)
    shown = torch.tensor([[noun in example.objects for noun in NOUNS] for example in examples])
    assert looks[shown].mean() > 1.5 * looks[~shown].mean()


def test_the_unexplained_share_of_patches_is_returned(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, siglip: Backbone, features: Tensor
) -> None:
    assert 0 < align_with_siglip(model, processor, siglip, features, seed=0) < 0.05
