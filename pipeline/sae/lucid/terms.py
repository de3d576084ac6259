"""The terms of LUCID's loss (arXiv 2602.07311, 3.2.3, 3.3.2, 3.4), from a batch that is encoded already."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.sae.auxiliary import LatentActivity, auxiliary_loss
from pipeline.sae.dictionary import Autoencoding, Dictionary
from pipeline.sae.losses import mean_squared_error
from pipeline.sae.options import AuxiliaryOptions
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import SparseCodes, pool_codes
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.plan import TokenPlaces, TransportPlan

Dictionaries = Mapping[Side, Dictionary]
Terms = dict[str, Float[Tensor, ""]]


class EncodedSide(NamedTuple):
    """One side of a batch, patches or tokens one after another, in scaled units."""

    scaled: Float[Tensor, "token channel"]
    coded: Autoencoding
    shared: SparseCodes
    """The part of the codes over shared latents."""
    counted: Bool[Tensor, " token"] | None
    """Which rows are tokens; None if all are. The codes of the others are 0."""


Encoded = Mapping[Side, EncodedSide]


def self_terms(encoded: Encoded) -> Terms:
    """How well each side is reconstructed from its own codes."""
    return {
        f"self_{side}": mean_squared_error(one.coded.reconstruction, one.scaled, one.counted)
        for side, one in encoded.items()
    }


def cross_terms(
    encoded: Encoded,
    from_text: Float[Tensor, "token channel"],
    plan: TransportPlan,
    dictionaries: Dictionaries,
    shared_width: int,
) -> Terms:
    """Both directions of 3.3.2; an image whose caption is empty has nothing to be predicted from.

    Args:
        from_text: the shared text codes by vision's decoder, without its bias.
    """
    pairs = len(plan.valid)
    patches, text = encoded["vision"], encoded["text"]
    to_patches = mix_text_to_patches(plan, from_text) + dictionaries["vision"].decoder_bias
    to_text = dictionaries["text"].decode_dense(mix_codes_to_text(plan, patches.shared, shared_width))
    return {
        "cross_vision": mean_squared_error(
            to_patches.view(pairs, -1), patches.scaled.view(pairs, -1), plan.valid.any(dim=1)
        ),
        "cross_text": mean_squared_error(to_text, text.scaled, text.counted),
    }


def global_lock(
    encoded: Encoded,
    from_text: Float[Tensor, "token channel"],
    places: TokenPlaces,
    dictionaries: Dictionaries,
    shared_width: int,
) -> Float[Tensor, ""]:
    """The global semantic lock, 3.2.3: each side's pooled code decodes to the other's pooled activation."""
    pairs = len(places.valid)
    scaled, shared = encoded["vision"].scaled, encoded["vision"].shared
    patches = len(scaled) // pairs
    patch_offsets = torch.arange(pairs + 1, device=scaled.device) * patches
    captioned = places.valid.any(dim=1)
    vision = places.mean(from_text) + dictionaries["vision"].decoder_bias
    text = dictionaries["text"].decode_dense(pool_codes(shared, patch_offsets, shared_width))
    return mean_squared_error(
        vision, scaled.view(pairs, patches, -1).mean(dim=1), captioned
    ) + mean_squared_error(text, places.mean(encoded["text"].scaled), captioned)


def l1_terms(encoded: Encoded, weights: Mapping[str, float]) -> Terms:
    """Mean absolute entry of the shared and of the private codes, summed over the sides; where it has a weight."""
    k = encoded["vision"].shared.values.shape[1]
    parts = {"l1_shared": slice(None, k), "l1_private": slice(k, None)}
    return {
        name: torch.stack(
            [_mean_absolute(one.coded.codes.values[:, part], one.counted) for one in encoded.values()]
        ).sum()
        for name, part in parts.items()
        if weights[name]
    }


def auxiliary_terms(
    encoded: Encoded,
    dictionaries: Dictionaries,
    clocks: Mapping[Side, LatentActivity],
    options: AuxiliaryOptions,
    most_dead: Sequence[int],
) -> Terms:
    """AuxK of each side, of whose latents at most `most_dead` are dead."""
    if not options.coefficient:
        return {}
    return {
        f"auxiliary_{side}": auxiliary_loss(
            dictionaries[side],
            encoded[side].scaled,
            encoded[side].coded.reconstruction,
            clocks[side].dead(options.dead_after_pairs),
            options.k or max(1, encoded[side].scaled.shape[1] // 2),
            most,
            encoded[side].counted,
        )
        for side, most in zip(SIDES, most_dead, strict=True)
    }


def _mean_absolute(values: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of the entries of the rows that count; the others are 0."""
    if counted is None:
        return values.abs().sum() / max(values.numel(), 1)
    return values.abs().sum() / (counted.sum() * values.shape[1]).clamp_min(1)
