"""Heat maps of categories against one pair at a time."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cache import ActivationCache
from pipeline.backbone.model import Backbone
from pipeline.metrics.category_maps import CategoryMaps, CategoryQuery
from pipeline.metrics.encoding import EncodedBatch, encode_batch
from pipeline.metrics.prompts import PromptEncoder
from pipeline.sae.crossing import transport_plan
from pipeline.sae.lucid.model import LucidSAE
from pipeline.sae.lucid.options import LucidOptions

from .axis_world import CHANNELS, NOUNS, Scene, random_scenes

PROMPT = "a photo of a {category}"
CAPTIONS = ["a cat on the sea", "two cats, a boat", "the sea"]


@pytest.fixture
def sae() -> LucidSAE:
    return LucidSAE(LucidOptions(latents=64, k_shared=3, k_private=2), CHANNELS, CHANNELS, seed=3).eval()


@pytest.fixture
def encoded(build_cache: Callable[..., ActivationCache], sae: LucidSAE) -> EncodedBatch:
    things = [scene.things for scene in random_scenes(3, seed=1)]
    cache = build_cache([Scene(of, [said]) for of, said in zip(things, CAPTIONS, strict=True)], noise=0.5)
    with torch.inference_mode():
        return encode_batch(sae, cache.read_pairs(np.arange(3)), torch.device("cpu"))


@pytest.fixture
def maps(sae: LucidSAE, backbone: Backbone) -> CategoryMaps:
    return CategoryMaps(PromptEncoder(sae, backbone, PROMPT, batch_texts=2), [*NOUNS, "zebra"])


def transport_of_one_pair(
    sae: LucidSAE, encoded: EncodedBatch, position: int, text: torch.Tensor, tokens: list[int]
) -> torch.Tensor:
    vision = sae.encode("vision", encoded.batch.vision_tokens[position], "shared")
    codes = sae.encode("text", text, "shared")
    plan = transport_plan(sae, vision, codes, torch.tensor([0, len(text)]), encoded.patches).plan[0]
    return plan[:, tokens].sum(dim=1)


def test_the_tokenizers_unknown_word_is_no_concept(maps: CategoryMaps) -> None:
    assert set(maps.concepts) == set(NOUNS)


@torch.inference_mode()
def test_a_category_in_the_caption_is_grounded_by_its_own_tokens(
    maps: CategoryMaps, sae: LucidSAE, encoded: EncodedBatch
) -> None:
    questions = [
        CategoryQuery(1, CAPTIONS[1], "cat"),
        CategoryQuery(0, CAPTIONS[0], "cat"),
        CategoryQuery(1, CAPTIONS[1], "boat"),
    ]
    heat, by_caption = maps.transport(encoded, questions)
    assert by_caption == 3
    offsets = encoded.batch.text_offsets.tolist()
    for row, (position, token) in enumerate([(1, 1), (0, 1), (1, 4)]):
        own = encoded.batch.text_tokens[offsets[position] : offsets[position + 1]]
        expected = transport_of_one_pair(sae, encoded, position, own, [token])
        torch.testing.assert_close(heat[row], expected, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_a_category_outside_the_caption_is_grounded_by_prompt_and_caption_together(
    maps: CategoryMaps, sae: LucidSAE, encoded: EncodedBatch, backbone: Backbone
) -> None:
    questions = [CategoryQuery(0, CAPTIONS[0], noun) for noun in ("cat", "star", "fish", "traffic light")]
    heat, by_caption = maps.transport(encoded, questions)
    assert by_caption == 1
    for row, (noun, tokens) in enumerate([("star", [4]), ("fish", [4]), ("traffic light", [4, 5])], start=1):
        ids, valid = backbone.tokenize([f"a photo of a {noun}. {CAPTIONS[0]}"])
        text = backbone.encode_texts(ids).tokens[0][valid[0]]
        expected = transport_of_one_pair(sae, encoded, 0, text, tokens)
        torch.testing.assert_close(heat[row], expected, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_a_short_context_cuts_the_caption_and_not_the_category(
    maps: CategoryMaps, encoded: EncodedBatch
) -> None:
    heat = maps.prompted_transport(encoded, [CategoryQuery(2, "the sea " * 20, "star")])
    assert heat.sum() > 0


@torch.inference_mode()
def test_the_code_of_a_category_is_the_maximum_over_its_tokens(
    maps: CategoryMaps, sae: LucidSAE, backbone: Backbone
) -> None:
    ids, valid = backbone.tokenize([PROMPT.format(category="traffic light")])
    tokens = backbone.encode_texts(ids).tokens[0][valid[0]][4:6]
    expected = sae.encode("text", tokens, "shared").dense(sae.shared_width).amax(dim=0)
    torch.testing.assert_close(maps.concepts["traffic light"].code, expected)


@torch.inference_mode()
def test_backbone_maps_rank_patches_by_cosine_with_the_prompt(
    maps: CategoryMaps, encoded: EncodedBatch, backbone: Backbone
) -> None:
    heat = maps.backbone(
        encoded, [CategoryQuery(2, CAPTIONS[2], "star"), CategoryQuery(0, CAPTIONS[0], "cat")]
    )
    for row, (position, noun) in enumerate([(2, "star"), (0, "cat")]):
        text = backbone.encode_texts(backbone.tokenize([PROMPT.format(category=noun)])[0]).pooled[0]
        patches = backbone.patch_embeddings(encoded.batch.vision_tokens)[position]
        cosine = torch.cosine_similarity(patches, text[None], dim=1)
        torch.testing.assert_close(heat[row], cosine - cosine.min(), rtol=1e-4, atol=1e-6)
