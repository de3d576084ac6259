"""How far a patch is from a token: 1 - cosine of their shared codes (LUCID, arXiv 2602.07311, 3.2.1)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum
from pipeline.transport.plan import TokenPlaces


class CodeSimilarity(NamedTuple):
    """Inner products of every patch code with every text code of its pair, and the codes' lengths.

    Padded tokens have inner product 0 and length 0.
    """

    dot: Float[Tensor, "pair patch text"]
    vision_length: Float[Tensor, "pair patch"]
    text_length: Float[Tensor, "pair text"]

    def cost(self) -> Float[Tensor, "pair patch text"]:
        """Compute `1 - cos`, in [0, 2]. A zero code has no direction: its cosine is 0, with gradient 0."""
        return 1 - self.dot * inverse(self.vision_length)[:, :, None] * inverse(self.text_length)[:, None, :]


def code_similarity(
    vision: SparseCodes, text: SparseCodes, tokens: TokenPlaces, width: int
) -> CodeSimilarity:
    """Multiply the shared codes within every pair.

    Args:
        vision: codes [pair * patch, k], the pairs' patches one after another.
        text: codes [token, k], packed: the tokens of all pairs one after another; 0 in rows that are no tokens.
        tokens: where the rows of `text` stand.
        width: number of latents the codes may name; only columns below it.
    """
    pairs, longest = tokens.valid.shape
    patches = len(vision.values) // pairs
    # The text codes of a pair as columns: row `pair * width + latent` holds that latent over the pair's
    # tokens. A patch's inner products are then k weighted rows of it.
    table = _text_columns(text, tokens, width)
    dot = gather_sum(vision.values, pair_latent(vision.indices, pairs, width), table)
    text_length = tokens.padded(code_length(text.values)[:, None]).squeeze(2)
    return CodeSimilarity(
        dot.view(pairs, patches, longest), code_length(vision.values).view(pairs, patches), text_length
    )


def pair_latent(indices: Int64[Tensor, "token k"], pairs: int, width: int) -> Int64[Tensor, "token k"]:
    """Number latents apart per pair, `pair * width + latent`, for patches that are equally many per pair."""
    patches = len(indices) // pairs
    pair = torch.arange(pairs, device=indices.device).repeat_interleave(patches)
    return indices + (pair * width)[:, None]


def code_length(values: Float[Tensor, "token k"]) -> Float[Tensor, " token"]:
    """Measure the Euclidean length of sparse codes; a zero code has length 0 with gradient 0, not NaN."""
    squared = values.square().sum(dim=1)
    zero = squared == 0
    return squared.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


def inverse(length: Tensor) -> Tensor:
    """Compute `1 / length`, and 0 with gradient 0 where the length is 0."""
    zero = length == 0
    return length.masked_fill(zero, 1).reciprocal().masked_fill(zero, 0)


def _text_columns(text: SparseCodes, tokens: TokenPlaces, width: int) -> Float[Tensor, "pair_latent text"]:
    pairs, longest = tokens.valid.shape
    flat = ((tokens.pair * width)[:, None] + text.indices) * longest + tokens.place[:, None]
    table = text.values.new_zeros(pairs * width * longest)
    return table.scatter_add(0, flat.flatten(), text.values.flatten()).view(pairs * width, longest)
