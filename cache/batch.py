"""A batch of pairs, as every consumer of a cache receives it."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class PairBatch(NamedTuple):
    """Activations of some pairs, text packed without padding.

    The tokens of the i-th pair are rows `text_offsets[i]` to `text_offsets[i + 1]` of `text_tokens`.

    Attributes:
        pair: int64 [pair], index of each pair in the cache.
        vision_tokens: float32 [pair, patch, channel].
        text_tokens: float32 [token, channel].
        text_offsets: int64 [pair + 1].
        token_ids: int64 [token].
        vision_pooled: float32 [pair, embedding].
        text_pooled: float32 [pair, embedding].
    """

    pair: Int[Tensor, "pair"]
    vision_tokens: Float[Tensor, "pair patch vision_channel"]
    text_tokens: Float[Tensor, "token text_channel"]
    text_offsets: Int[Tensor, " pair_plus_1"]
    token_ids: Int[Tensor, "token"]
    vision_pooled: Float[Tensor, "pair embedding"]
    text_pooled: Float[Tensor, "pair embedding"]


def packed_rows(
    starts: Int[Tensor, "pair"], lengths: Int[Tensor, "pair"], rows: int | None = None
) -> tuple[Int[Tensor, "token"], Int[Tensor, " pair_plus_1"]]:
    """Row numbers of ragged pieces `starts[i] : starts[i] + lengths[i]` one after another, and their offsets.

    `rows` is the sum of the lengths; where it is known, a GPU need not be waited for.
    """
    offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    shift = torch.repeat_interleave(starts - offsets[:-1], lengths, output_size=rows)
    return torch.arange(len(shift), device=starts.device) + shift, offsets
