"""Heat maps over an image's patches, from the plan, from the codes, and from the backbone alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import normalize

from pipeline.sparse.codes import SparseCodes


def transport_maps(
    plan: Float[Tensor, "pair patch token"], pairs: Sequence[int], tokens: Sequence[Sequence[int]]
) -> Float[Tensor, "request patch"]:
    """Mass of the plan on the tokens that name a category (LUCID, arXiv 2602.07311, 4.4).

    The paper sums the plan "over tokens". Over *all* tokens the sum is the row marginal, uniform by construction,
    so the sum runs over the naming tokens.

    Args:
        plan: A batch's transport plans.
        pairs: Pair of each heat map, by position in the batch.
        tokens: Positions of its naming tokens within the pair's tokens.
    """
    maps = [plan[pair][:, list(places)].sum(dim=1) for pair, places in zip(pairs, tokens, strict=True)]
    return torch.stack(maps)


def code_maps(
    vision_codes: SparseCodes,
    patches: int,
    pairs: Int64[Tensor, "request"],
    concept_codes: Float[Tensor, "request shared_latent"],
    weights: Float[Tensor, "shared_latent"],
) -> Float[Tensor, "request patch"]:
    """Overlap of patch codes with a concept's code, `sum_m min(z_i,m, z_c,m) idf_m` (LUCID, 3.5).

    Only latents that the patch fires can overlap, so the sum runs over the sparse code.

    Args:
        vision_codes: Shared codes of a batch's patches, pair by pair.
        patches: Patches per pair.
        pairs: Pair of each heat map, by position in the batch.
        concept_codes: The code of each heat map's concept.
        weights: idf_m of each shared latent.
    """
    values, indices = (by_pair(part, patches)[pairs].flatten(1) for part in vision_codes)
    overlap = torch.minimum(values, concept_codes.gather(1, indices)) * weights[indices]
    return overlap.view(len(pairs), patches, -1).sum(dim=2)


def inverse_document_frequency(
    codes: Float[Tensor, "concept shared_latent"],
) -> Float[Tensor, "shared_latent"]:
    """`idf_m = log(N / df_m)`, with df_m of the N concepts firing latent m (LUCID, algorithm 1); 0 where none does."""
    frequency = (codes > 0).sum(dim=0)
    return torch.where(frequency > 0, (len(codes) / frequency.clamp(min=1)).log(), 0.0)


def cosine_maps(
    patch_embeddings: Float[Tensor, "*pair patch embedding"], embedding: Float[Tensor, "embedding"]
) -> Float[Tensor, "*pair patch"]:
    """The frozen model's own heat map: cosine of each patch and the prompt, shifted to a minimum of zero.

    Cosines may be negative, and a share of mass needs a map that is not; the shift leaves the order of the patches.
    """
    cosine = normalize(patch_embeddings, dim=-1) @ normalize(embedding, dim=-1)
    return cosine - cosine.amin(dim=-1, keepdim=True)


def by_pair(part: Shaped[Tensor, "pair_patch k"], patches: int) -> Shaped[Tensor, "pair patch k"]:
    """Values or indices of a batch's codes, told apart by pair."""
    return part.view(-1, patches, part.shape[1])
