"""Sparse codes: what every dictionary makes of activations."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class SparseCodes(NamedTuple):
    """The codes of some tokens of one side: for each token k values and the latents they belong to.

    An entry whose value is 0 is inactive, whatever latent it names: with `relu` on, fewer than k latents
    may be active. A token never names the same latent twice with a value other than 0.
    """

    values: Float[Tensor, "token k"]
    indices: Int64[Tensor, "token k"]
    """Columns of the side's joint dictionary: shared latents come first, private ones follow."""

    def shared_only(self, shared_width: int) -> "SparseCodes":
        """Make every private latent (column >= `shared_width`) inactive."""
        shared = self.indices < shared_width
        return SparseCodes(self.values * shared, self.indices * shared)

    def dense(self, width: int) -> Float[Tensor, "token {width}"]:
        """Write the codes out as one column per latent: for looking at a few tokens, not for training."""
        zeros = self.values.new_zeros(len(self.values), width)
        return zeros.scatter_add(1, self.indices, self.values)


def owners(offsets: Int64[Tensor, " item_plus_1"], rows: int) -> Int64[Tensor, " row"]:
    """Tell which item each of `rows` packed rows belongs to; rows after the last item, to the last.

    A GPU need not be waited for.

    Args:
        offsets: item i has the rows offsets[i] up to offsets[i + 1].
        rows: number of rows.
    """
    row = torch.arange(rows, device=offsets.device)
    return torch.searchsorted(offsets[1:], row, right=True).clamp_max(len(offsets) - 2)


def max_pool_codes(
    codes: SparseCodes, owner: Int64[Tensor, " token"], items: int, width: int
) -> Float[Tensor, "item {width}"]:
    """Take each item's largest code per latent, dense; 0 where no token of it is above 0.

    The gradient reaches the codes that are the largest, in equal parts where several are.

    Args:
        codes: of the items' tokens, with indices below `width`.
        owner: which item each token belongs to.
        items: number of items.
        width: number of latents.
    """
    place = (owner[:, None] * width + codes.indices).flatten()
    largest = codes.values.new_zeros(items * width)
    return largest.scatter_reduce(0, place, codes.values.flatten(), "amax").view(items, width)


def pool_codes(
    codes: SparseCodes, offsets: Int64[Tensor, " pair_plus_1"], width: int
) -> Float[Tensor, "pair {width}"]:
    """Average the codes of every pair over latents 0 .. width - 1, dense. A pair without tokens gets 0.

    Rows after the last pair must be 0.
    """
    counts = offsets.diff()
    pairs = len(counts)
    pair = owners(offsets, len(codes.values))
    total = codes.values.new_zeros(pairs * width)
    total = total.scatter_add(0, ((pair * width)[:, None] + codes.indices).flatten(), codes.values.flatten())
    return total.view(pairs, width) / counts.clamp_min(1)[:, None]


def among_strongest(pooled: Float[Tensor, "item latent"], k: int) -> Bool[Tensor, "item latent"]:
    """Tell which latents are active in an item and among its k strongest; a GPU need not be waited for."""
    strongest = pooled.topk(min(k, pooled.shape[1]), dim=1)
    return torch.zeros_like(pooled, dtype=torch.bool).scatter_(1, strongest.indices, strongest.values > 0)
