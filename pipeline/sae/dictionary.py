"""One side's dictionary: a linear encoder and a linear decoder over one set of latents."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.sae.linear_decoder import LinearDecoder
from pipeline.sae.moments import SideMoments
from pipeline.sae.whitening import SideWhitening
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.encode import sparse_autoencode, sparse_encode
from pipeline.sparse.products import sampled_dot
from pipeline.sparse.top_k import Group


class Autoencoding(NamedTuple):
    """The codes of some tokens and what a dictionary makes of them, in scaled units."""

    codes: SparseCodes
    reconstruction: Float[Tensor, "token channel"]
    """Bias included."""


class Dictionary(nn.Module):
    """`h_hat = decoder.T z + decoder_bias`, `z = TopK(encoder (h - decoder_bias) + encoder_bias)`.

    LUCID (arXiv 2602.07311) 3.1.1. Both matrices are stored as [latent, channel], so that a latent's
    direction is one contiguous row: the "columns" of the paper's decoder are rows here.
    All arithmetic is in scaled units, `raw / scale`, with one stored scalar per side.
    """

    scale: Float[Tensor, ""]

    def __init__(
        self,
        latents: int,
        channels: int,
        *,
        relu: bool,
        subtract_decoder_bias: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.relu = relu
        self.subtract_decoder_bias = subtract_decoder_bias
        directions = torch.randn(latents, channels, generator=generator)
        self.decoder = nn.Parameter(directions / directions.norm(dim=1, keepdim=True))
        self.encoder = nn.Parameter(self.decoder.detach().clone())  # a copy: the two then learn apart
        self.encoder_bias = nn.Parameter(torch.zeros(latents))
        self.decoder_bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def initialise(self, moments: SideMoments) -> None:
        """Take the scale and the decoder bias from the cache's exact moments.

        The scale is the root of the mean channel variance, so scaled activations vary by 1 per channel on
        average, and a squared error of 1 per element is that of always predicting the mean.
        """
        variance = float(np.mean(moments.variance))
        scale = variance**0.5 if variance > 0 else 1.0
        self.scale.fill_(scale)
        self.decoder_bias.copy_(torch.from_numpy(np.asarray(moments.mean) / scale))

    @torch.no_grad()
    def begin_with(self, directions: Float[Tensor, "latent channel"]) -> None:
        """Let encoder and decoder begin with these directions."""
        self.decoder.copy_(directions)
        self.encoder.copy_(directions)

    def scaled(self, activations: Float[Tensor, "... channel"]) -> Float[Tensor, "... channel"]:
        """Turn raw cache units into scaled units."""
        return activations / self.scale

    def encode(self, scaled: Float[Tensor, "token channel"], groups: Sequence[Group]) -> SparseCodes:
        """Encode activations in scaled units, each group of latents with its own Top-K."""
        return sparse_encode(scaled, self.centre(), self.encoder, self.encoder_bias, groups, self.relu)

    def autoencode(self, scaled: Float[Tensor, "token channel"], groups: Sequence[Group]) -> Autoencoding:
        """Encode and decode in one: for training, where it makes the gradient cheaper."""
        codes, combined = sparse_autoencode(
            scaled, self.centre(), self.encoder, self.encoder_bias, self.decoder, groups, self.relu
        )
        return Autoencoding(codes, combined + self.decoder_bias)

    def centre(self) -> Float[Tensor, " channel"]:
        """Hand out what the encoder subtracts first: the decoder's bias, or nothing."""
        return self.decoder_bias if self.subtract_decoder_bias else torch.zeros_like(self.decoder_bias)

    @torch.no_grad()
    def reindex(self, order: Int64[Tensor, " latent"]) -> None:
        """Renumber the latents: latent i becomes what latent order[i] was."""
        for tensor in (self.encoder, self.encoder_bias, self.decoder):
            tensor.copy_(tensor[order])

    @torch.no_grad()
    def fold(self, whitening: SideWhitening) -> None:
        """Take `W (h - mean)`, which was read so far, into the weights: the scale stays, the decoder's norms do not."""
        encoder = self.encoder.double() @ whitening.matrix
        mean = whitening.mean / self.scale
        if not self.subtract_decoder_bias:
            self.encoder_bias.sub_(encoder @ mean)
        self.encoder.copy_(encoder)
        self.decoder.copy_(self.decoder.double() @ whitening.inverse)
        self.decoder_bias.copy_(self.decoder_bias.double() @ whitening.inverse + mean)

    def linear_decoder(self) -> LinearDecoder:
        """Hand out its decoder and its scale."""
        return LinearDecoder(self.decoder, self.decoder_bias, self.scale)

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Drop the part of the decoder's gradient along each (unit) direction, which only changes its norm."""
        if self.decoder.grad is not None:
            latent = torch.arange(len(self.decoder), device=self.decoder.device)[:, None]
            along = sampled_dot(
                self.decoder, latent, self.decoder.grad
            )  # a plain product writes out a third matrix
            self.decoder.grad.addcmul_(along, self.decoder, value=-1)

    @torch.no_grad()
    def normalise_weights(self) -> None:
        """Bring every direction of the decoder back to unit length."""
        smallest = torch.finfo(self.decoder.dtype).tiny
        self.decoder.div_(self.decoder.norm(dim=1, keepdim=True).clamp_min(smallest))
