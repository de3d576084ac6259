"""Where pairs are: the rows of the cache's arrays that belong to each of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from cache.errors import CacheError, LostRows


@dataclass(frozen=True, eq=False)
class PairRows:
    """Rows of some pairs, in their order.

    Attributes:
        pairs: int64 [pair].
        images: int64 [pair], image row.
        captions: int64 [pair], caption row.
        token_starts: int64 [pair], row of the first token of the caption.
        token_counts: int64 [pair], tokens of the caption.
        shard_images: image rows of a shard of the cache.
    """

    pairs: Int[np.ndarray, "pair"]
    images: Int[np.ndarray, "pair"]
    captions: Int[np.ndarray, "pair"]
    token_starts: Int[np.ndarray, "pair"]
    token_counts: Int[np.ndarray, "pair"]
    shard_images: int

    @property
    def token_offsets(self) -> Int[np.ndarray, " pair_plus_1"]:
        """int64 [pair + 1]: the tokens of the i-th pair, packed, are rows `[i]` to `[i + 1]`."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.token_counts)])

    @property
    def tokens(self) -> Int[np.ndarray, "token"]:
        """int64 [token], rows of all tokens, one pair after the other."""
        offsets = self.token_offsets
        shifts = np.repeat(self.token_starts - offsets[:-1], self.token_counts)
        tokens: NDArray[np.int64] = np.arange(offsets[-1]) + shifts
        return tokens

    def touching(self, lost: LostRows) -> Int[np.ndarray, "touching"]:
        """The pairs that have one of the rows, ascending."""
        first, count = {
            "image": (self.images, 1),
            "caption": (self.captions, 1),
            "token": (self.token_starts, self.token_counts),
            "shard": (self.images // self.shard_images, 1),
        }[lost.dimension]
        touching: NDArray[np.int64] = np.unique(
            self.pairs[(first < lost.rows.stop) & (first + count > lost.rows.start)]
        )
        return touching


def naming_pairs(error: CacheError, where: PairRows) -> CacheError:
    """The same error, telling also which of the pairs that were to be read it concerns."""
    if error.lost is None:
        return error
    pairs = where.touching(error.lost)
    more = f" and {len(pairs) - 10} more" if len(pairs) > 10 else ""
    return type(error)(
        f"{error} (of the pairs asked for, this concerns {', '.join(map(str, pairs[:10]))}{more})"
    )
