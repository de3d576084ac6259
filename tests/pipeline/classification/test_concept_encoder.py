"""What pictures and classes are compared by, against one token, one prompt and one latent at a time."""

import pytest
import torch
from torch import Tensor

from pipeline.backbone.model import Backbone
from pipeline.classification.concept_encoder import ConceptEncoder
from pipeline.errors import ConfigError, RunError
from pipeline.metrics.options import Pooling
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.registry import build_sae
from pipeline.sae.sides import Side

LATENTS = 32
POOLED = {"architecture": "vl_sae", "latents": LATENTS, "k": 4}
AFFINE = POOLED | {"encoder": "affine"}
TOKENS = POOLED | {"inputs": "tokens"}
LUCID = {"architecture": "lucid", "latents": 64, "shared_ratio": 0.5, "k_shared": 4, "k_private": 4}
PROMPTS = [
    [template.format(name) for template in ("a photo of a {}", "a large drawing of a {}")]
    for name in ("cat", "red boat", "dog")
]


def build(options: dict[str, object], width: int | None = None, seed: int = 3) -> SparseAutoencoder:
    pooled = options["architecture"] == "vl_sae" and "inputs" not in options
    channels = width or (8 if pooled else 16)
    return build_sae(options, channels, channels, seed).eval()


def unit(row: Tensor) -> Tensor:
    return row / row.norm() if row.norm() > 0 else row


def code_by_loop(sae: SparseAutoencoder, side: Side, rows: Tensor, pooling: Pooling) -> Tensor:
    """Each row encoded alone; per latent the largest, or the mean."""
    codes = torch.zeros(len(rows), sae.shared_width)
    for place, row in enumerate(rows):
        values, indices = sae.encode(side, row[None], "shared")
        for value, latent in zip(values[0].tolist(), indices[0].tolist(), strict=True):
            codes[place, latent] += value
    return codes.amax(dim=0) if pooling == "max" else codes.mean(dim=0)


@pytest.mark.parametrize(
    "options", [POOLED, AFFINE, TOKENS, LUCID], ids=["pooled", "affine", "tokens", "lucid"]
)
@pytest.mark.parametrize("pooling", ["max", "mean"])
@torch.inference_mode()
def test_a_class_is_the_mean_direction_of_its_prompts(
    backbone: Backbone, options: dict[str, object], pooling: Pooling
) -> None:
    sae = build(options)
    other = build(options, seed=4)
    found, of_other = ConceptEncoder([sae, other], backbone, pooling, batch_size=4).classes(PROMPTS)
    assert torch.equal(found.embedding, of_other.embedding)
    assert not torch.allclose(found.concepts, of_other.concepts, atol=0.1)
    for label, texts in enumerate(PROMPTS):
        embeddings, codes = [], []
        for text in texts:
            ids, valid = backbone.tokenize([text])
            seen = backbone.encode_texts(ids)
            rows = seen.pooled if not sae.reader.knows_places else seen.tokens[valid]
            embeddings.append(unit(seen.pooled[0]))
            codes.append(unit(code_by_loop(sae, "text", rows, pooling)))
        for rows, mine in ((embeddings, found.embedding), (codes, found.concepts)):
            torch.testing.assert_close(mine[label], unit((rows[0] + rows[1]) / 2), atol=1e-5, rtol=1e-4)
    assert found.concepts.norm(dim=1).min() > 0.99, "codes that fire nothing would test nothing"


@pytest.mark.parametrize(
    "options", [POOLED, AFFINE, TOKENS, LUCID], ids=["pooled", "affine", "tokens", "lucid"]
)
@torch.inference_mode()
def test_a_picture_is_its_embedding_and_its_pooled_code(
    backbone: Backbone, options: dict[str, object]
) -> None:
    sae = build(options)
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = ConceptEncoder([build(AFFINE), sae], backbone).images(pixels)[1]
    for number in range(3):
        seen = backbone.encode_images(pixels[number : number + 1])
        rows = seen.pooled if not sae.reader.knows_places else seen.tokens[0]
        torch.testing.assert_close(found.embedding[number], unit(seen.pooled[0]), atol=1e-5, rtol=1e-4)
        expected = unit(code_by_loop(sae, "vision", rows, "max"))
        torch.testing.assert_close(found.concepts[number], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("options", "width", "made"), [(POOLED, 16, 8), (LUCID, 24, 16)])
def test_a_dictionary_of_another_width_is_refused(
    backbone: Backbone, options: dict[str, object], width: int, made: int
) -> None:
    with pytest.raises(
        RunError, match=f"backbone .*: {made} vision channels, but .* trained on {width}; give"
    ):
        ConceptEncoder([build(POOLED), build(options, width)], backbone)


def test_classes_that_the_tokenizer_cannot_tell_apart_are_refused(backbone: Backbone) -> None:
    encoder = ConceptEncoder([build(POOLED)], backbone, batch_size=1)
    with pytest.raises(ConfigError, match="cannot tell 'a photo of a zebra' from 'a photo of a gnu'"):
        encoder.classes([["a photo of a gnu"], ["a photo of a cat"], ["a photo of a zebra"]])
