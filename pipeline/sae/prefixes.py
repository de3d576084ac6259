"""Nested prefixes: the first latents of a dictionary must reconstruct without those that follow them.

Bussmann et al., "Learning Multi-Level Features with Matryoshka Sparse Autoencoders" (arXiv 2503.17547), section 3.
Codes are those of the whole dictionary; a prefix keeps the entries of its own latents. So what most inputs need is
learned by the first latents, and a general concept is not split up among the special ones that imply it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.sae.linear_decoder import LinearDecoder
from pipeline.sae.losses import mean_squared_error
from pipeline.sparse.codes import SparseCodes


def mean_over_prefixes(
    whole: Float[Tensor, ""],
    widths: Sequence[int],
    decoder: LinearDecoder,
    codes: SparseCodes,
    target: Float[Tensor, "token channel"],
    mask: Bool[Tensor, " token"] | None = None,
) -> Float[Tensor, ""]:
    """Average the error of the whole dictionary and those of its prefixes.

    The paper adds them up. Their mean keeps the meaning of the term's weight: 1 is still the error of always
    predicting the mean.

    Args:
        whole: the mean squared error of all latents together.
        widths: how many latents each prefix has; of none, the result is `whole`.
        decoder: decodes the prefixes.
        codes: over the latents that the prefixes are of.
        target: what is to be reconstructed, in the decoder's scaled units.
        mask: which rows are tokens, by default all.
    """
    if not widths:
        return whole
    errors = [
        mean_squared_error(decoder.combine(first_latents(codes, width)) + decoder.bias, target, mask)
        for width in widths
    ]
    return torch.stack([whole, *errors]).mean()


def first_latents(codes: SparseCodes, width: int) -> SparseCodes:
    """Keep the entries of latents 0 .. width - 1; the others become 0, which is inactive."""
    return codes._replace(values=codes.values * (codes.indices < width))
