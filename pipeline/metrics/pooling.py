"""From the sparse shared codes of tokens to one dense vector of latents per image or caption."""

from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.metrics.options import Pooling
from pipeline.sparse.codes import SparseCodes, max_pool_codes, owners, pool_codes


def pool(
    codes: SparseCodes, offsets: Int64[Tensor, " item_plus_1"], width: int, pooling: Pooling
) -> Float[Tensor, "item latent"]:
    """Pool each item's token codes per latent; a latent that a token does not fire counts as zero.

    Args:
        codes: Codes of the items' tokens, packed, with indices below `width`.
        offsets: Item i has tokens offsets[i] up to offsets[i + 1]; an item without tokens pools to zeros.
        width: Number of latents.
        pooling: `mean` or `max` over the item's tokens.

    Returns:
        float32; dense, but per item and not per token.
    """
    if pooling == "mean":
        return pool_codes(codes, offsets, width)
    items = len(offsets) - 1
    return max_pool_codes(codes, owners(offsets, len(codes.values)), items, width)
