"""Centring by position: what a patch or a token is on average where it stands is taken away before it is read.

The position of a patch, and of a token in its caption, explains much of the variance of a backbone's activations
(`concord cache stats` says how much). A dictionary that has to rebuild it spends latents on it, which fire in every
picture and every caption, and so on either side of every pair.
"""

from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from cache import ActivationCache, PositionMeans
from pipeline.sae.moments import Moments, SideMoments
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import owners

LEAST_COUNT = 100
"""A position that was seen less often keeps the mean of all. The mean of 100 tokens is off by a hundredth of their
variance, little beside what position explains; the mean of a few would take away part of the very tokens."""


class PositionalCentring(nn.Module):
    """The shift of every position: its mean in the training cache less the mean of all tokens of the side.

    Shifts are taken away from what is read, so the mean of all tokens stays where it was. They are saved with the
    dictionary, which then needs no cache.
    """

    def __init__(self, positions: tuple[int, int], channels: tuple[int, int]) -> None:
        """Make room for so many positions and channels of vision and of text; until `fit`, nothing is shifted."""
        super().__init__()
        self.positions = positions
        for side, count, width in zip(SIDES, positions, channels, strict=True):
            self.register_buffer(side, torch.zeros(count, width))

    def shift(self, side: Side) -> Float[Tensor, "position channel"]:
        """Hand out what is taken away at each position of a side, float32, raw cache units."""
        return cast(Tensor, getattr(self, side))

    def fit(self, cache: ActivationCache) -> None:
        """Take the shifts from a cache's exact means; 0 where a position was seen fewer than `LEAST_COUNT` times."""
        for side in SIDES:
            means = cache.position_means[side]
            shift = torch.from_numpy(means.mean - cache.statistics[side].mean)
            shift[torch.from_numpy(means.count < LEAST_COUNT)] = 0
            self.shift(side).copy_(shift)

    def of_rows(
        self, side: Side, offsets: Int64[Tensor, " item_plus_1"], rows: int
    ) -> Float[Tensor, "row channel"]:
        """Look up the shift of each of `rows` packed rows, on the device of `offsets`.

        Args:
            side: "vision" or "text".
            offsets: item i has the rows offsets[i] up to offsets[i + 1].
            rows: number of rows; those after the last item get some shift or other.
        """
        first = offsets[owners(offsets, rows)]
        shift = self.shift(side).to(offsets.device)
        return shift[(torch.arange(rows, device=offsets.device) - first).clamp_max(len(shift) - 1)]

    def moments(self, side: Side, statistics: SideMoments, means: PositionMeans) -> Moments:
        """Compute the exact moments of a cache's tokens after their shift, from those before it.

        With n_p tokens at position p, of mean m_p, shift d_p and N tokens in all, of mean m: the sum of
        `|x - d_p - m|^2` is that of `|x - m|^2` less `2 sum n_p d_p (m_p - m)` plus `sum n_p d_p^2`.
        """
        count, shift = means.count[:, None], self.shift(side).double().cpu().numpy()
        tokens = max(1, int(means.count.sum()))
        moved = (count * shift).sum(axis=0) / tokens
        change = (count * (shift**2 - 2 * shift * (means.mean - statistics.mean))).sum(axis=0) / tokens
        variance = statistics.variance + change - moved**2
        return Moments(statistics.mean - moved, variance.clip(min=0.0))
