"""What SAEs with a linear dictionary of its own for each side have in common."""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.dictionary import Dictionary
from pipeline.sae.linear_decoder import LinearDecoder
from pipeline.sae.moments import SideMoments
from pipeline.sae.sides import SIDES, Side


class TwoDictionaries(SparseAutoencoder):
    """A dictionary per side. New ones have random unit directions, drawn from `seed` alone."""

    unit_norm_decoder: bool = True
    """Whether training keeps the decoders' directions at unit length."""

    def __init__(
        self,
        latents: int,
        vision_channels: int,
        text_channels: int,
        seed: int,
        *,
        relu: bool = True,
        subtract_decoder_bias: bool = True,
    ) -> None:
        super().__init__()
        self.vision_channels, self.text_channels = vision_channels, text_channels
        generator = torch.Generator().manual_seed(seed)
        self.dictionaries = nn.ModuleDict(
            {
                side: Dictionary(
                    latents,
                    channels,
                    relu=relu,
                    subtract_decoder_bias=subtract_decoder_bias,
                    generator=generator,
                )
                for side, channels in zip(SIDES, (vision_channels, text_channels), strict=True)
            }
        )

    def dictionary(self, side: Side) -> Dictionary:
        """Hand out one side's encoder and decoder."""
        return cast(Dictionary, self.dictionaries[side])

    def decoder(self, side: Side) -> LinearDecoder:
        """Hand out one side's decoder and its scale."""
        return self.dictionary(side).linear_decoder()

    def encoder_directions(self, side: Side) -> Float[Tensor, "latent channel"]:
        """Hand out the rows of a side's encoder."""
        return self.dictionary(side).encoder

    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """Set each side's scale and decoder bias from the exact moments of what is read of it."""
        for side in SIDES:
            self.dictionary(side).initialise(statistics[side])

    def reindex(self, side: Side, order: Int64[Tensor, " latent"]) -> None:
        """Renumber a side's latents; no reconstruction of the side by its own code changes."""
        self.dictionary(side).reindex(order)

    def after_backward(self) -> None:
        """With unit-norm decoders, drop the part of their gradients that would only change the norm."""
        if self.unit_norm_decoder:
            for side in SIDES:
                self.dictionary(side).project_gradients()

    def after_step(self) -> None:
        """With unit-norm decoders, bring every direction back to unit length."""
        if self.unit_norm_decoder:
            for side in SIDES:
                self.dictionary(side).normalise_weights()
