"""VL-SAE: one set of latents that both sides activate by their distance to it, decoded by each side's decoder.

"VL-SAE: Interpreting and Enhancing Vision-Language Alignment with a Unified Concept Set" (arXiv 2510.21323).
Its ablations and the baselines of its tables are configurations of this one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.dictionary import SideMoments
from pipeline.sae.extents import Extents
from pipeline.sae.inputs import is_token, select_inputs
from pipeline.sae.losses import Losses, mean_squared_error, weighted_sum
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.vl_sae.encoder import Encoder
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.products import gather_sum
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.coupling import couple
from pipeline.transport.options import GuidanceOptions
from pipeline.transport.plan import TransportPlan, token_places

if TYPE_CHECKING:
    from cache import PairBatch

BOTH = "both"
UNGUIDED = GuidanceOptions(global_context=False)


class Decoder(nn.Module):
    """`weight.T z + bias`: weight [latent, channel], neither tied to the encoder nor of any norm.

    Drawn as torch draws a linear layer from latents to channels: both U(+-1 / sqrt(latents)).
    """

    def __init__(self, latents: int, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = latents**-0.5
        self.weight = nn.Parameter(
            torch.empty(latents, channels).uniform_(-bound, bound, generator=generator)
        )
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound, generator=generator))

    def combine(self, codes: SparseCodes) -> Float[Tensor, "item channel"]:
        """The directions weighted by the codes, without the bias."""
        return gather_sum(codes.values, codes.indices, self.weight)


class VLSAE(SparseAutoencoder):
    """An encoder and a decoder per side, either of which the sides may share.

    Every latent counts as shared, also where the sides have encoders of their own (the baseline SAE-D): then
    nothing but chance makes a latent mean the same on both, and that is what is to be measured.
    """

    options: VLSAEOptions

    def __init__(
        self, options: VLSAEOptions, vision_channels: int, text_channels: int, seed: int = 0
    ) -> None:
        """New random weights, drawn from `seed` alone.

        Raises:
            ConfigError: the sides share weights, but their activations differ in width.
        """
        super().__init__()
        _refuse_shared_weights_of_two_widths(options, vision_channels, text_channels)
        self.options, self.inputs = options, options.inputs
        self.vision_channels, self.text_channels = vision_channels, text_channels
        self.shared_width, self.private_width = options.latents, 0
        generator = torch.Generator().manual_seed(seed)
        widths: dict[str, int] = dict(zip(SIDES, (vision_channels, text_channels), strict=True))
        shared = {BOTH: vision_channels}
        self.encoders = nn.ModuleDict(
            {
                name: Encoder(options.encoder, options.latents, channels, generator)
                for name, channels in (shared if options.shared_encoder else widths).items()
            }
        )
        for side, channels in widths.items():
            self.register_buffer(f"{side}_centre", torch.zeros(channels))
        self.decoders = nn.ModuleDict(
            {
                name: Decoder(options.latents, channels, generator)
                for name, channels in (shared if options.shared_decoder else widths).items()
            }
        )

    def encoder(self, side: Side) -> Encoder:
        """What encodes a side."""
        return cast(Encoder, self.encoders[BOTH if self.options.shared_encoder else side])

    def decoder(self, side: Side) -> Decoder:
        """What decodes a side."""
        return cast(Decoder, self.decoders[BOTH if self.options.shared_decoder else side])

    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """With `centre`, keep the mean of what is read of each side; VL-SAE itself neither scales nor centres."""
        if self.options.centre:
            for side in SIDES:
                mean = torch.tensor(statistics[side].mean)
                cast(Tensor, getattr(self, f"{side}_centre")).copy_(mean)

    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Codes of a side's activations [token, channel], float32, raw cache units; the same in every mode.

        Raises:
            ConfigError: "private", as every latent is shared.
        """
        if mode == "private":
            raise ConfigError("no private codes: every latent of vl_sae is shared; ask for mode 'shared'")
        return self.encoder(side).encode(activations - getattr(self, f"{side}_centre"), self.options.k)

    def decode(self, side: Side, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Reconstructed activations of a side, raw cache units."""
        decoder = self.decoder(side)
        return decoder.combine(codes) + decoder.bias

    def transport(
        self,
        vision_codes: SparseCodes,
        text_codes: SparseCodes,
        text_offsets: Int64[Tensor, " pair_plus_1"],
        patches: int,
    ) -> TransportPlan:
        """The unguided entropic plan of every pair by its codes; no part of VL-SAE, which never looks inside a side.

        With pooled inputs it joins a pair's two embeddings with mass 1. With tokens it makes the codes answer the
        questions that LUCID's answer: the cost is `1 - cos` of codes, marginals are uniform, and epsilon and
        iterations are LUCID's (arXiv 2602.07311, A.1).
        """
        coupling = couple(
            vision_codes,
            text_codes,
            token_places(text_offsets, len(text_codes.values)),
            patches,
            width=self.shared_width,
            epsilon=0.1,
            iterations=10,
            guidance=UNGUIDED,
            detach_plan=True,
        )
        return coupling.plan

    def cross_reconstruct(
        self, target: Side, codes: SparseCodes, plan: TransportPlan
    ) -> Float[Tensor, "target_token channel"]:
        """The target side's activations, raw cache units: the other side's codes through the target's decoder."""
        decoder = self.decoder(target)
        if target == "text":
            mixed = mix_codes_to_text(plan, codes, self.shared_width)
            return torch.addmm(decoder.bias, mixed, decoder.weight)
        return mix_text_to_patches(plan, decoder.combine(codes)) + decoder.bias

    def extents(self, batch: PairBatch) -> Extents:
        """The rows of text; no caption is padded, and no latent cared for when dead."""
        return Extents(len(batch.text_tokens), longest_caption=1)

    def losses(
        self,
        batch: PairBatch,
        extents: Extents | None = None,
    ) -> Losses:
        """`MSE_v + MSE_t`, element means against the activations as they are cached. There is no alignment term.

        Terms: `self_vision` and `self_text`, each of weight 1. `extents` is ignored.
        """
        seen = select_inputs(batch, self.inputs)
        activations: dict[Side, Tensor] = {
            "vision": seen.vision_tokens.flatten(0, 1),
            "text": seen.text_tokens,
        }
        counted = {"vision": None, "text": is_token(seen)}
        terms = {
            f"self_{side}": mean_squared_error(
                self.decode(side, self.encode(side, values)), values, counted[side]
            )
            for side, values in activations.items()
        }
        return weighted_sum(terms, dict.fromkeys(terms, 1.0))

    def project_gradients(self) -> None:
        """Nothing: the decoders' norms are free."""

    def normalise_weights(self) -> None:
        """Nothing: the encoder normalises as it encodes, and the decoders' norms are free."""


def _refuse_shared_weights_of_two_widths(options: VLSAEOptions, vision: int, text: int) -> None:
    shared = [key for key in ("shared_encoder", "shared_decoder") if getattr(options, key)]
    if vision != text and shared:
        raise ConfigError(
            f"sae.{shared[0]}: vision activations are {vision} wide and text activations {text}, and one set of "
            f"weights needs one width; read the embeddings that both sides have in common (sae.inputs: pooled, "
            f"is {options.inputs!r}), or give each side its own ({', '.join(shared)}: false)"
        )
