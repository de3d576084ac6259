"""VL-SAE: one set of latents that both sides activate by their distance to it, decoded by each side's decoder.

"VL-SAE: Interpreting and Enhancing Vision-Language Alignment with a Unified Concept Set" (arXiv 2510.21323).
Its ablations and the baselines of its tables are configurations of this one class.
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.batch_top_k import BatchTopK
from pipeline.sae.code_cosine import code_cosine_distance
from pipeline.sae.group_sparsity import group_sparsity
from pipeline.sae.jump_relu import JumpReLU
from pipeline.sae.linear_decoder import LinearDecoder
from pipeline.sae.losses import Losses, mean_squared_error, weighted_sum
from pipeline.sae.moments import SideMoments
from pipeline.sae.pair_mask import PairMask
from pipeline.sae.pairs import Pairs
from pipeline.sae.prefixes import mean_over_prefixes
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.thresholds import BatchCodes, Thresholds
from pipeline.sae.vl_sae.encoder import Encoder
from pipeline.sae.vl_sae.options import VLSAEOptions
from pipeline.sae.whitening import SideWhitening
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group

BOTH = "both"


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
        self.options = options
        self.vision_channels, self.text_channels = vision_channels, text_channels
        self.shared_width = options.latents
        self.prefix_widths = options.prefix_widths(self.shared_width)
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
        if options.side_bias:
            self.biases = nn.ParameterDict(
                {side: nn.Parameter(torch.zeros(channels)) for side, channels in widths.items()}
            )
        if options.shared_mask:
            self.shared_mask = PairMask(options.shared_mask, options.latents, seed)
        self.budget = Group(0, options.latents, options.k)
        self.batch_top_k, self.jump_relu = nn.ModuleDict(), nn.ModuleDict()
        if options.activation != "top_k":
            self.shared_budget = options.k
        for side in SIDES:
            if options.activation == "batch_top_k":
                self.batch_top_k[side] = BatchTopK([self.budget], options.batch_top_k_cap)
            if options.activation == "jump_relu":
                self.jump_relu[side] = JumpReLU(options.latents, options.jump_relu)
        if options.matching:
            self.register_buffer("confidence", torch.zeros(options.latents))

    def encoder(self, side: Side) -> Encoder:
        """Hand out what encodes a side."""
        return cast(Encoder, self.encoders[BOTH if self.options.shared_encoder else side])

    def decoder(self, side: Side) -> LinearDecoder:
        """Hand out what decodes a side."""
        decoder = cast(Decoder, self.decoders[BOTH if self.options.shared_decoder else side])
        bias = decoder.bias + self.biases[side] if self.options.side_bias else decoder.bias
        return LinearDecoder(decoder.weight, bias)

    def encoder_directions(self, side: Side) -> Float[Tensor, "latent channel"]:
        """Hand out the rows of a side's encoder."""
        return self.encoder(side).weight

    @torch.no_grad()
    def reindex(self, side: Side, order: Int64[Tensor, " latent"]) -> None:
        """Renumber a side's latents; no reconstruction of the side changes.

        Raises:
            ConfigError: the sides share an encoder or a decoder.
        """
        if not self.options.reindexable:
            super().reindex(side, order)
        encoder = self.encoder(side)
        for tensor in (encoder.weight, encoder.bias, self.decoder(side).directions):
            if tensor is not None:
                tensor.copy_(tensor[order])
        if self.jump_relu:
            cast(JumpReLU, self.jump_relu[side]).reindex(order)

    @torch.no_grad()
    def fold(self, side: Side, whitening: SideWhitening) -> None:
        """Change a side's weights so that they read raw activations as they read whitened ones.

        Raises:
            ConfigError: the encoder is not affine, or the sides share an encoder or a decoder.
        """
        if not self.options.foldable:
            super().fold(side, whitening)
        encoder, decoder = self.encoder(side), cast(Decoder, self.decoders[side])
        centre = self.biases[side] if self.options.side_bias else self.get_buffer(f"{side}_centre")
        encoder.weight.copy_(encoder.weight.double() @ whitening.matrix)
        decoder.weight.copy_(decoder.weight.double() @ whitening.inverse)
        bias = decoder.bias.double() @ whitening.inverse
        decoder.bias.copy_(bias if self.options.side_bias else bias + whitening.mean)
        centre.copy_(centre.double() @ whitening.inverse + whitening.mean)

    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """Keep the share `centre` of the mean of what is read of each side, and begin a bias of a side at its mean."""
        if self.options.side_bias:
            for side in SIDES:
                self.biases[side].data.copy_(torch.tensor(statistics[side].mean))
        if self.options.centre:
            for side in SIDES:
                mean = torch.tensor(statistics[side].mean) * self.options.centre
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
        candidates = self._candidates(side, activations, None)
        thresholds = self._thresholds(side)
        return candidates if thresholds is None else thresholds.above_threshold(candidates)

    def losses(self, pairs: Pairs) -> Losses:
        """Compute `MSE_v + MSE_t`, element means against the activations as they are cached, and what aligns the sides.

        VL-SAE itself has nothing that does. Terms: `self_vision` and `self_text`, each of weight 1; `budget_*` of
        learned thresholds; `cosine` and `group_sparsity` of `paired_codes`, unless the sides are held apart.
        """
        masks = self.options.shared_mask and self.training
        left_out = self.shared_mask.draw(len(pairs)) if masks else None
        terms, codes = {}, {}
        for side in SIDES:
            rows = pairs.rows(side)
            without = None if left_out is None else left_out[pairs.owners(side)]
            candidates = self._candidates(side, rows, without)
            codes[side], budget_error = self._active(side, candidates, pairs.mask(side))
            terms[f"self_{side}"] = self._self_term(side, codes[side], rows, pairs.mask(side))
            if budget_error is not None:
                terms[f"budget_{side}"] = budget_error
        if self.options.paired_codes.any and not self.apart:
            terms |= self._paired_terms(codes, pairs)
        return weighted_sum(terms, self.options.term_weights)

    def _candidates(self, side: Side, activations: Tensor, left_out: Tensor | None) -> SparseCodes:
        """Codes by the K strongest latents of every input; with thresholds, by the most that it may have."""
        thresholds = self._thresholds(side)
        k = self.options.k if thresholds is None else thresholds.candidates([self.budget])[0].k
        centre = self.biases[side] if self.options.side_bias else getattr(self, f"{side}_centre")
        return self.encoder(side).encode(activations - centre, k, left_out)

    def _active(self, side: Side, candidates: SparseCodes, mask: Tensor | None) -> BatchCodes:
        """Which candidates of a batch are active: all, unless thresholds say which."""
        thresholds = self._thresholds(side)
        if thresholds is None:
            return BatchCodes(candidates)
        return thresholds.of_batch(candidates, [self.budget], mask)

    def _self_term(
        self, side: Side, codes: SparseCodes, rows: Tensor, mask: Tensor | None
    ) -> Float[Tensor, ""]:
        """How well a side is reconstructed; with prefixes, the mean over them and the whole."""
        whole = mean_squared_error(self.decode(side, codes), rows, mask)
        prefixes = () if self.apart else self.prefix_widths
        return mean_over_prefixes(whole, prefixes, self.decoder(side), codes, rows, mask)

    def _paired_terms(self, codes: Mapping[Side, SparseCodes], pairs: Pairs) -> dict[str, Tensor]:
        """The terms that tie the two codes of a pair to each other, each where it has a weight."""
        options, captioned = self.options.paired_codes, pairs.text_offsets.diff() > 0
        vision, text = (self._largest(codes[side], pairs, side) for side in SIDES)
        terms = {}
        if options.cosine:
            terms["cosine"] = code_cosine_distance(
                vision, text, captioned, spare_strongest=options.spare_strongest
            )
        if options.group_sparsity:
            lengths = {side: self.directions(side).norm(dim=1) for side in SIDES}
            terms["group_sparsity"] = group_sparsity(
                vision * lengths["vision"], text * lengths["text"], captioned
            )
        return terms

    def _largest(self, codes: SparseCodes, pairs: Pairs, side: Side) -> Float[Tensor, "pair latent"]:
        """Each pair's largest code per latent on a side."""
        mask = pairs.mask(side)
        if mask is not None:
            codes = codes._replace(values=codes.values * mask[:, None])
        return pairs.largest_codes(side, codes, self.shared_width)

    def _thresholds(self, side: Side) -> Thresholds | None:
        """What decides which candidates of a side are active; None if a Top-K does."""
        both = self.batch_top_k or self.jump_relu
        return cast(Thresholds, both[side]) if both else None


def _refuse_shared_weights_of_two_widths(options: VLSAEOptions, vision: int, text: int) -> None:
    shared = [key for key in ("shared_encoder", "shared_decoder") if getattr(options, key)]
    if vision != text and shared:
        raise ConfigError(
            f"sae.{shared[0]}: vision activations are {vision} wide and text activations {text}, and one set of "
            f"weights needs one width; read the embeddings that both sides have in common (sae.inputs: pooled, "
            f"is {options.inputs!r}), or give each side its own ({', '.join(shared)}: false)"
        )
