"""The terms of LUCID's loss (arXiv 2602.07311), from a batch that is encoded already.

| term | section | equation | function |
| --- | --- | --- | --- |
| self reconstruction | 3.3, 3.4 | `L_self = |h_a - D_a z_a|^2 + |h_b - D_b z_b|^2` | `self_terms` |
| alignment, by the lock | 3.2.3 | `L_align = |D_a(mean z_s^b) - mean h^a|^2` and its mirror image | `global_lock` |
| alignment, by the cost | 3.2.1 | `L_align = <C, P>`, `C = 1 - cos(z_s^a, z_s^b)` | `transport_cost` |
| cross reconstruction | 3.3.2 | `L_cross`, of both barycentric maps through P | `cross_terms` |
| nested prefixes | none: `pipeline.sae.prefixes` | mean of `L_self` over them | `self_terms` |
| contrast of pairs | none: `pipeline.sae.contrast` | symmetric InfoNCE | `contrast` |
| balance | none: `pipeline.sae.balance` | codes of too frequent latents | `balance` |
| sparsity | 3.4 | `lambda_s |z_s|_1 + lambda_p |z_p|_1` | `l1_terms` |
| budget | none: `pipeline.sae.jump_relu` | `(L0 / k - 1)^2` | `budget_terms` |
| dead latents | none: arXiv 2406.04093, 2.4 | AuxK | `auxiliary_terms` |
| the total | 3.4 | `alpha L_self + beta L_align + gamma L_cross + ...` | `LucidSAE.losses` |
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.sae.auxiliary import LatentActivity, auxiliary_loss
from pipeline.sae.balance import LatentFrequency, balance_loss
from pipeline.sae.contrast import pooled_contrast
from pipeline.sae.dictionary import Autoencoding, Dictionary
from pipeline.sae.losses import mean_squared_error
from pipeline.sae.options import AuxiliaryOptions
from pipeline.sae.pairs import Pairs
from pipeline.sae.prefixes import mean_over_prefixes
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import SparseCodes, pool_codes
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.coupling import Coupling
from pipeline.transport.plan import TokenPlaces, TransportPlan

Dictionaries = Mapping[Side, Dictionary]
Terms = dict[str, Float[Tensor, ""]]


class EncodedSide(NamedTuple):
    """One side of a batch, patches or tokens one after another, in scaled units."""

    scaled: Float[Tensor, "token channel"]
    coded: Autoencoding
    shared: SparseCodes
    """The part of the codes over shared latents."""
    mask: Bool[Tensor, " token"] | None
    """Which rows are tokens; None if all are. The codes of the others are 0."""
    budget_error: Float[Tensor, ""] | None = None
    """How far the mean number of active latents is from its budget; None if that is always met."""


Encoded = Mapping[Side, EncodedSide]


def self_terms(encoded: Encoded, dictionaries: Dictionaries, prefixes: Sequence[int] = ()) -> Terms:
    """Measure how well each side is reconstructed from its own codes; with prefixes, the mean over them and the whole.

    Args:
        prefixes: how many shared latents each has.
    """
    terms = {}
    for side, one in encoded.items():
        whole = mean_squared_error(one.coded.reconstruction, one.scaled, one.mask)
        decoder = dictionaries[side].linear_decoder()
        terms[f"self_{side}"] = mean_over_prefixes(whole, prefixes, decoder, one.shared, one.scaled, one.mask)
    return terms


def cross_terms(
    encoded: Encoded,
    from_text: Float[Tensor, "token channel"],
    plan: TransportPlan,
    dictionaries: Dictionaries,
    shared_width: int,
) -> Terms:
    """Measure both directions of 3.3.2; an image whose caption is empty has nothing to be predicted from.

    Args:
        from_text: the shared text codes by vision's decoder, without its bias.
    """
    pairs = len(plan.valid)
    patches, text = encoded["vision"], encoded["text"]
    to_patches = mix_text_to_patches(plan, from_text) + dictionaries["vision"].decoder_bias
    to_text = (
        dictionaries["text"]
        .linear_decoder()
        .combine_dense(mix_codes_to_text(plan, patches.shared, shared_width))
    )
    return {
        "cross_vision": mean_squared_error(
            to_patches.view(pairs, -1), patches.scaled.view(pairs, -1), plan.valid.any(dim=1)
        ),
        "cross_text": mean_squared_error(to_text, text.scaled, text.mask),
    }


def transport_cost(coupling: Coupling) -> Float[Tensor, ""]:
    """Average `<C, P>` over the pairs: C is plain `1 - cos`, whatever guided the plan."""
    captioned = coupling.plan.valid.any(dim=1).sum().clamp_min(1)
    return (coupling.cost * coupling.plan.plan).sum() / captioned


def global_lock(
    encoded: Encoded,
    from_text: Float[Tensor, "token channel"],
    places: TokenPlaces,
    dictionaries: Dictionaries,
    shared_width: int,
) -> Float[Tensor, ""]:
    """Measure the global semantic lock, 3.2.3: each side's pooled code decodes to the other's pooled activation."""
    pairs = len(places.valid)
    scaled, shared = encoded["vision"].scaled, encoded["vision"].shared
    patches = len(scaled) // pairs
    patch_offsets = torch.arange(pairs + 1, device=scaled.device) * patches
    captioned = places.valid.any(dim=1)
    vision = places.mean(from_text) + dictionaries["vision"].decoder_bias
    text = (
        dictionaries["text"].linear_decoder().combine_dense(pool_codes(shared, patch_offsets, shared_width))
    )
    return mean_squared_error(
        vision, scaled.view(pairs, patches, -1).mean(dim=1), captioned
    ) + mean_squared_error(text, places.mean(encoded["text"].scaled), captioned)


def contrast(
    encoded: Encoded, pairs: Pairs, places: TokenPlaces, shared_width: int, scale: float
) -> Float[Tensor, ""]:
    """Measure the contrast of the batch's pairs by the largest shared codes of their patches and of their tokens."""
    vision, text = (pairs.largest_codes(side, encoded[side].shared, shared_width) for side in SIDES)
    return pooled_contrast(vision, text, places.valid.any(dim=1), scale)


def balance(
    encoded: Encoded,
    pairs: Pairs,
    places: TokenPlaces,
    clocks: Mapping[Side, LatentFrequency],
    budget: int,
    most: float,
) -> Float[Tensor, ""]:
    """Weigh the codes of shared latents that are among the `budget` strongest of more items than `most` of a side's."""
    captioned = places.valid.any(dim=1)
    masks = {"vision": torch.ones_like(captioned), "text": captioned}
    losses = []
    for side in SIDES:
        clock = clocks[side]
        pooled = pool_codes(encoded[side].shared, pairs.offsets(side), len(clock.frequency))
        if clock.training:
            clock.record(pooled, budget, masks[side])
        losses.append(balance_loss(pooled, clock.frequency, most))
    return torch.stack(losses).sum()


def l1_terms(encoded: Encoded, weights: Mapping[str, float]) -> Terms:
    """Average the absolute entries of shared and private codes, where these have a weight; the sides are added."""
    k = encoded["vision"].shared.values.shape[1]
    parts = {"l1_shared": slice(None, k), "l1_private": slice(k, None)}
    return {
        name: torch.stack(
            [_mean_absolute(one.coded.codes.values[:, part], one.mask) for one in encoded.values()]
        ).sum()
        for name, part in parts.items()
        if weights[name]
    }


def budget_terms(encoded: Encoded) -> Terms:
    """Collect how far each side is from its budget of active latents, where thresholds learn to meet it."""
    return {
        f"budget_{side}": one.budget_error for side, one in encoded.items() if one.budget_error is not None
    }


def auxiliary_terms(
    encoded: Encoded,
    dictionaries: Dictionaries,
    clocks: Mapping[Side, LatentActivity],
    options: AuxiliaryOptions,
    most_dead: Mapping[Side, int],
) -> Terms:
    """Compute AuxK of each side, of whose latents at most `most_dead` are dead."""
    if not options.coefficient:
        return {}
    return {
        f"auxiliary_{side}": auxiliary_loss(
            dictionaries[side],
            encoded[side].scaled,
            encoded[side].coded.reconstruction,
            clocks[side].dead(),
            options.k or max(1, encoded[side].scaled.shape[1] // 2),
            most_dead[side],
            encoded[side].mask,
        )
        for side in SIDES
    }


def _mean_absolute(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average the entries of the rows of the mask; the others are 0."""
    if mask is None:
        return values.abs().sum() / max(values.numel(), 1)
    return values.abs().sum() / (mask.sum() * values.shape[1]).clamp_min(1)
