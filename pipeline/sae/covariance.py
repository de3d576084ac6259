"""The covariance of what is read of each side of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from pipeline.sae.sides import SIDES, Side

if TYPE_CHECKING:
    from cache import ActivationCache
    from pipeline.sae.reader import PairReader

_PAIRS_AT_ONCE = 64


class Covariance(NamedTuple):
    """Exact second moments of one side's rows, raw cache units."""

    mean: Float64[Tensor, " channel"]
    matrix: Float64[Tensor, "channel channel"]


@torch.no_grad()
def covariances(reader: PairReader, cache: ActivationCache) -> dict[Side, Covariance]:
    """Sum up what `reader` reads of all pairs of a cache, in one pass, float64; 0 of a side that has no rows.

    Rows are taken less a point near their mean, so that no digits are lost where the mean is large.

    Raises:
        CacheError: the cache cannot be read.
    """
    centres = {side: torch.tensor(centre) for side, centre in reader.centres(cache).items()}
    counts = dict.fromkeys(SIDES, 0)
    sums = {side: torch.zeros_like(centre) for side, centre in centres.items()}
    products = {side: torch.zeros(len(total), len(total)).double() for side, total in sums.items()}
    for batch in cache.iterate(_PAIRS_AT_ONCE):
        pairs = reader.pairs(batch)
        for side in SIDES:
            rows = pairs.rows(side).cpu().double() - centres[side]
            counts[side] += len(rows)
            sums[side] += rows.sum(dim=0)
            products[side].addmm_(rows.T, rows)
    found = {}
    for side in SIDES:
        count = max(1, counts[side])
        shift = sums[side] / count
        found[side] = Covariance(centres[side] + shift, products[side] / count - torch.outer(shift, shift))
    return found
