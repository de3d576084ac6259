"""A start for the tiny LLaVA in the tiny SigLIP's space, where a noun resembles the patches that show it.

LLaVA learns its projector from half a million captioned pictures before it learns to answer (arXiv 2304.08485, section
4.2). Here the head that SigLIP trained takes the place of that stage: nouns begin as SigLIP's text embeddings, the
projector as its head for patches, and the first layer's attention compares tokens (its queries and keys begin alike,
but for the direction that tells patches from words). A noun then looks at the patches that show it, or else at
itself. From random weights neither a noun nor a patch can begin without the other, and the decoder answers
blindly for long.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from pipeline.backbone.model import Backbone
from pipeline.world.scenes.scene import NOUNS

_PATCHES = 20_000
_SCALE = 0.7
"""Root mean square of the channels of every word and patch: about what a new layer adds to them."""

_GAP = 0.2
"""Share of a word's or a patch's squared length that says which of both it is. The larger, the less a noun looks at
itself, whom it resembles most: it shall do so only where no patch shows it."""
_SHARPNESS = 40.0
"""The first layer's logit of a token with itself, were there no gap and no positions."""


@torch.no_grad()
def align_with_siglip(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    siglip: Backbone,
    features: Float[Tensor, "image patch channel"],
    seed: int,
) -> float:
    """Start nouns, projector and first attention of `model` in SigLIP's space, in place.

    Both sides are centred first: the mean of all nouns, and of all patches, tells none of them apart.

    Args:
        model: new, of the width of SigLIP's embeddings.
        processor: knows the nouns' tokens.
        siglip: whose vision tower `model` has.
        features: of training pictures, from `image_features`.
        seed: of the patches that the projector is fitted to.

    Returns:
        The share of the patches' variance that the projector leaves unexplained.
    """
    inner: Any = model.model  # transformers' submodules are not typed
    words = inner.language_model.embed_tokens.weight
    size = _SCALE * words.shape[1] ** 0.5
    generator = torch.Generator().manual_seed(seed)
    gap = normalize(torch.randn(words.shape[1], generator=generator), dim=0)
    ids = processor.tokenizer.convert_tokens_to_ids(list(NOUNS))
    token_ids, _ = siglip.tokenize([f"a photo of a {noun}" for noun in NOUNS])
    words[ids] = _centred(siglip.encode_texts(token_ids).pooled)
    words.copy_(_apart(words, -gap) * size)
    _compare(inner.language_model.layers[0].self_attn, gap, generator)
    patches = features.flatten(0, 1)
    patches = patches[torch.randint(len(patches), (_PATCHES,), generator=generator)].float()
    normed = inner.vision_tower.post_layernorm(patches)
    targets = _apart(_centred(siglip.patch_embeddings(normed[:, None])[:, 0]), gap) * size
    return _fit(inner.multi_modal_projector, patches, targets)


def _centred(embeddings: Float[Tensor, "item channel"]) -> Float[Tensor, "item channel"]:
    """Subtract the mean of unit vectors and bring them to unit length again."""
    units = normalize(embeddings, dim=1)
    return normalize(units - units.mean(dim=0), dim=1)


def _apart(
    vectors: Float[Tensor, "item channel"], direction: Float[Tensor, " channel"]
) -> Float[Tensor, "item channel"]:
    """Spread unit vectors so that their direction is a share of `_GAP`."""
    apart: Tensor = normalize(vectors, dim=1) * (1 - _GAP) ** 0.5 + direction * _GAP**0.5
    return apart


def _compare(attention: Any, gap: Float[Tensor, " channel"], generator: torch.Generator) -> None:
    """Give queries and keys whose product is the likeness of two tokens; `gap` counts for tokens of different sides."""
    query = attention.q_proj.weight
    gain = (_SHARPNESS / attention.head_dim**0.5) ** 0.5
    nn.init.orthogonal_(query, gain, generator)
    attention.k_proj.weight.copy_(query - 2 * torch.outer(query @ gap, gap))


def _fit(
    projector: Any, patches: Float[Tensor, "patch channel"], targets: Float[Tensor, "patch channel"]
) -> float:
    """Fit two linear layers by least squares: the first is the solution, the second the identity."""
    inputs = torch.cat([patches, torch.ones(len(patches), 1)], dim=1)
    solution = torch.linalg.lstsq(inputs, targets).solution
    projector.linear_1.weight.copy_(solution[:-1].T)
    projector.linear_1.bias.copy_(solution[-1])
    nn.init.eye_(projector.linear_2.weight)
    nn.init.zeros_(projector.linear_2.bias)
    return float((inputs @ solution - targets).var(dim=0).sum() / targets.var(dim=0).sum())
