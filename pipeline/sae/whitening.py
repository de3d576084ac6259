"""Covariance whitening: while a dictionary learns, what it reads of a side varies alike in every direction.

"Data Whitening Improves Sparse Autoencoder Learning" (arXiv 2511.13981). A backbone's activations vary hundreds of
times as much in some directions as in others, and a squared error is about the former. Whitening is linear, as are
encoder and decoder, so after training it is folded into their weights: the saved dictionary reads raw activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from pipeline.sae.covariance import covariances
from pipeline.sae.moments import Moments
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES, Side

if TYPE_CHECKING:
    from cache import ActivationCache
    from pipeline.sae.reader import PairReader


class SideWhitening(NamedTuple):
    """One side's map `h -> matrix (h - mean)` and the way back; both matrices are symmetric."""

    mean: Float64[Tensor, " channel"]
    matrix: Float64[Tensor, "channel channel"]
    inverse: Float64[Tensor, "channel channel"]

    def whitened(self, rows: Float[Tensor, "... channel"]) -> Float[Tensor, "... channel"]:
        """Whiten raw rows."""
        return (rows - self.mean.to(rows.dtype)) @ self.matrix.to(rows.dtype)

    def restored(self, rows: Float[Tensor, "... channel"]) -> Float[Tensor, "... channel"]:
        """Turn whitened rows back into raw ones."""
        return rows @ self.inverse.to(rows.dtype) + self.mean.to(rows.dtype)


class Whitening(nn.Module):
    """The whitening of both sides, `((1 - shrinkage) C + shrinkage v 1)^(-1/2)` with C the covariance of a side.

    v is the mean variance of a channel. Without shrinkage a direction of no variance, such as layer normalisation
    leaves, could not be whitened, and one of little would be blown up, rounding included. Of all maps that whiten, the
    symmetric one (ZCA) changes activations least.
    """

    def __init__(self, shrinkage: float, channels: tuple[int, int]) -> None:
        """Make room for so many channels of vision and of text; until `fit`, nothing is changed."""
        super().__init__()
        self._shrinkage = shrinkage
        for side, width in zip(SIDES, channels, strict=True):
            unchanged = torch.zeros(width), torch.eye(width), torch.eye(width)
            for name, tensor in zip(SideWhitening._fields, unchanged, strict=True):
                self.register_buffer(f"{side}_{name}", tensor.double())

    def of(self, side: Side) -> SideWhitening:
        """Hand out one side's whitening."""
        return SideWhitening(*(self.get_buffer(f"{side}_{name}") for name in SideWhitening._fields))

    def whitened(self, pairs: Pairs) -> Pairs:
        """Whiten both sides of a batch."""
        vision, text = self.of("vision").whitened(pairs.vision), self.of("text").whitened(pairs.text)
        return Pairs(vision, text, pairs.text_offsets, pairs.longest_caption)

    @torch.no_grad()
    def fit(self, reader: PairReader, cache: ActivationCache) -> Mapping[str, Moments]:
        """Take the covariance of what `reader` reads of all pairs of a cache, in one pass, float64.

        Returns:
            The exact moments of the whitened rows.
        """
        moments: dict[str, Moments] = {}
        for side, (mean, covariance) in covariances(reader, cache).items():
            found = _whitening(mean, covariance, self._shrinkage)
            for name, tensor in found._asdict().items():
                self.get_buffer(f"{side}_{name}").copy_(tensor)
            variance = (found.matrix @ covariance @ found.matrix).diagonal().clamp_min(0)
            moments[side] = Moments(torch.zeros_like(mean).numpy(), variance.numpy())
        return moments


def _whitening(mean: Tensor, covariance: Tensor, shrinkage: float) -> SideWhitening:
    size = float(covariance.diagonal().mean()) or 1.0  # of a side that does not vary any size will do
    shrunk = (1 - shrinkage) * covariance + shrinkage * size * torch.eye(len(mean)).double()
    variances, directions = torch.linalg.eigh(shrunk)
    matrix, inverse = (directions * variances**power @ directions.T for power in (-0.5, 0.5))
    return SideWhitening(mean, matrix, inverse)
