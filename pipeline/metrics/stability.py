"""Seed stability: how much of a dictionary do trainings from other seeds find again?"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cache import ActivationCache
from pipeline.metrics.items import read_items
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.reappearance import shares_found
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import max_pool_codes

Frequencies = Mapping[Side, Float[Tensor, " latent"]]
"""The share of a split's images, and of its captions, that fire each latent, shared ones first."""

STRATA: Mapping[str, tuple[float, float]] = {
    "rare": (0, 0.01),
    "occasional": (0.01, 0.1),
    "frequent": (0.1, 1),
}
"""By stratum, over what share of the items its latents fire, and over up to what share."""

_COMPARED: Mapping[str, Sequence[Side]] = {"vision": ("vision",), "text": ("text",), "both": SIDES}

_NO_ENCODER = NotDefined("the encoder of this architecture has no direction per latent")
_NONE = NotDefined("no latent fires as often as that")


@torch.inference_mode()
def firing_frequencies(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    batch_pairs: int,
    advance: Advance = lambda done, total: None,
) -> Frequencies:
    """Count how many images, each once, and how many wordings of captions of a cache fire each latent of a dictionary.

    Args:
        sae: the dictionary.
        cache: the pairs.
        batch_pairs: pairs read at a time.
        advance: receives (pairs read, pairs in all).

    Raises:
        CacheError: the cache cannot be read.
    """
    items, latents, device = (
        read_items(cache),
        sae.shared_width + sae.private_width,
        sae.directions("text").device,
    )
    first = {side: torch.from_numpy(items.first(side)) for side in SIDES}
    fired = {side: torch.zeros(latents) for side in SIDES}
    done = 0
    for batch in cache.iterate(batch_pairs):
        pairs = sae.reader.pairs(batch).to(device)
        for side in SIDES:
            codes = sae.encode(side, pairs.rows(side))
            pooled = max_pool_codes(codes, pairs.owners(side), len(pairs), latents).cpu()
            fired[side] += (pooled[first[side][batch.pair.cpu()]] > 0).sum(dim=0)
        done += len(pairs)
        advance(done, cache.pairs)
    return {side: fired[side] / max(1, int(first[side].sum())) for side in SIDES}


@torch.inference_mode()
def seed_stability(saes: Sequence[SparseAutoencoder], frequencies: Sequence[Frequencies]) -> dict[str, Any]:
    """Measure how many latents of dictionaries of one kind are found in the others, that other seeds led to.

    A latent is found in another dictionary if its direction has a cosine above .7 with that of a latent firing there.

    Args:
        saes: two or more dictionaries.
        frequencies: of each, see `firing_frequencies`; latents that never fire are neither asked nor answers.

    Returns:
        For `vision`, `text` and `both`, and of the directions of the `decoder` and of the `encoder`: `found`, the share
        of the other dictionaries that a latent is found in, the mean over all latents of all dictionaries; and the
        same by how often latents fire (`STRATA`). `both` asks of the shared latents that one latent of the other
        dictionary has both directions; a latent fires as often as it does on the side where it does so less.
    """
    return {
        name: {
            "decoder": _found(saes, frequencies, sides, encoder=False),
            "encoder": _found(saes, frequencies, sides, encoder=True),
        }
        for name, sides in _COMPARED.items()
    }


@torch.inference_mode()
def concepts_found(
    saes: Sequence[SparseAutoencoder], frequencies: Sequence[Frequencies]
) -> list[list[float | None]]:
    """Give the share of the other dictionaries that each shared latent is found in by both directions of its decoder.

    Args:
        saes: two or more dictionaries.
        frequencies: of each, see `firing_frequencies`.

    Returns:
        By dictionary and shared latent; None of a latent that does not fire on both sides.
    """
    dictionaries = [
        [sae.directions(side)[: sae.shared_width].float().cpu() for side in SIDES] for sae in saes
    ]
    alive = [fires > 0 for fires in _least_frequencies(saes, frequencies, SIDES)]
    return [
        [float(share) if lives else None for share, lives in zip(shares, living, strict=True)]
        for shares, living in zip(shares_found(dictionaries, alive), alive, strict=True)
    ]


def _found(
    saes: Sequence[SparseAutoencoder],
    frequencies: Sequence[Frequencies],
    sides: Sequence[Side],
    *,
    encoder: bool,
) -> dict[str, float | NotDefined] | NotDefined:
    dictionaries = []
    for sae in saes:
        directions = [sae.encoder_directions(side) if encoder else sae.directions(side) for side in sides]
        if any(part is None for part in directions):
            return _NO_ENCODER
        dictionaries.append(
            [part[: _width(sae, sides)].float().cpu() for part in directions if part is not None]
        )
    frequency = _least_frequencies(saes, frequencies, sides)
    shares = torch.cat(shares_found(dictionaries, [fires > 0 for fires in frequency]))
    fires = torch.cat(frequency)
    strata = {name: (fires > over) & (fires <= most) for name, (over, most) in STRATA.items()}
    return {name: _mean(shares[chosen]) for name, chosen in {"found": fires > 0, **strata}.items()}


def _least_frequencies(
    saes: Sequence[SparseAutoencoder], frequencies: Sequence[Frequencies], sides: Sequence[Side]
) -> list[Float[Tensor, " latent"]]:
    """How often each latent fires, of two sides on that where it does so less."""
    return [
        torch.stack([one[side][: _width(sae, sides)] for side in sides]).amin(dim=0)
        for sae, one in zip(saes, frequencies, strict=True)
    ]


def _width(sae: SparseAutoencoder, sides: Sequence[Side]) -> int:
    """Count the latents to ask about: of two sides the shared ones."""
    return sae.shared_width if len(sides) > 1 else sae.shared_width + sae.private_width


def _mean(shares: Float[Tensor, " latent"]) -> float | NotDefined:
    return float(shares.mean()) if len(shares) else _NONE
