"""LUCID: one dictionary of shared latents and two of private ones, aligned by guided transport.

"LUCID-SAE: Learning Unified Vision-Language Sparse Codes for Interpretable Concept Discovery"
(arXiv 2602.07311). Every variant of the paper's tables is a configuration of this one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.sae.auxiliary import LatentActivity
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.dictionary import Dictionary, SideMoments
from pipeline.sae.extents import Extents
from pipeline.sae.inputs import is_token
from pipeline.sae.losses import Losses, transport_cost, weighted_sum
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.lucid.terms import (
    EncodedSide,
    auxiliary_terms,
    cross_terms,
    global_lock,
    l1_terms,
    self_terms,
)
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group
from pipeline.transport.barycentric import mix_codes_to_text, mix_text_to_patches
from pipeline.transport.coupling import Coupling, couple
from pipeline.transport.plan import TokenPlaces, TransportPlan, token_places

if TYPE_CHECKING:
    from cache import PairBatch


class LucidSAE(SparseAutoencoder):
    """Two dictionaries, one per side, whose first `shared_width` latents mean the same on both (section 3.1).

    A new model has random unit directions, drawn from `seed` alone; `initialise` sets scales and biases.
    """

    options: LucidOptions

    def __init__(
        self, options: LucidOptions, vision_channels: int, text_channels: int, seed: int = 0
    ) -> None:
        super().__init__()
        self.options = options
        self.vision_channels, self.text_channels = vision_channels, text_channels
        self.shared_width, self.private_width = options.shared_width, options.private_width
        generator = torch.Generator().manual_seed(seed)
        self.dictionaries = nn.ModuleDict(
            {
                side: Dictionary(
                    options.latents,
                    channels,
                    relu=options.relu,
                    subtract_decoder_bias=options.subtract_decoder_bias,
                    generator=generator,
                )
                for side, channels in zip(SIDES, (vision_channels, text_channels), strict=True)
            }
        )
        self.activity = nn.ModuleDict({side: LatentActivity(options.latents) for side in SIDES})

    def dictionary(self, side: Side) -> Dictionary:
        """One side's encoder and decoder."""
        return cast(Dictionary, self.dictionaries[side])

    def initialise(self, statistics: Mapping[str, SideMoments]) -> None:
        """Set each side's scale and decoder bias from the cache's exact moments."""
        for side in SIDES:
            self.dictionary(side).initialise(statistics[side])

    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Codes of a side's activations [token, channel], float32, raw cache units.

        Args:
            mode: "full_joint" is the model's own code, Top-k_shared of the shared latents, then Top-k_private of
                the private ones; "full_global" one Top-(k_shared + k_private) over everything; "shared" and
                "private" one part alone. Without private latents the first three are the same.

        Raises:
            ConfigError: "private" of a model that has no private latents.
        """
        dictionary = self.dictionary(side)
        return dictionary.encode(dictionary.scaled(activations), self._groups(mode))

    def decode(self, side: Side, codes: SparseCodes) -> Float[Tensor, "token channel"]:
        """Reconstructed activations of a side, raw cache units, bias included."""
        dictionary = self.dictionary(side)
        return dictionary.decode(codes) * dictionary.scale

    def transport(
        self,
        vision_codes: SparseCodes,
        text_codes: SparseCodes,
        text_offsets: Int64[Tensor, " pair_plus_1"],
        patches: int,
    ) -> TransportPlan:
        """The plan of every pair by its shared codes; private latents among the codes are left out.

        Args:
            vision_codes: [pair * patch, k], the pairs' patches one after another.
            text_codes: [token, k], packed; pair p has tokens text_offsets[p] up to text_offsets[p + 1].
        """
        vision, text = (codes.shared_only(self.shared_width) for codes in (vision_codes, text_codes))
        places = token_places(text_offsets, len(text.values))
        return self._couple(vision, text, places, patches).plan

    def cross_reconstruct(
        self, target: Side, codes: SparseCodes, plan: TransportPlan
    ) -> Float[Tensor, "target_token channel"]:
        """The target side's activations, raw cache units, from the other side's codes through the plan.

        LUCID 3.3.1, decoded by the *target's* decoder: the formula prints the source's, whose output lies in the
        wrong space. Shared-only codes give the paper's reconstruction; with full codes the source's private
        latents are decoded too, by the target's private directions, which measures leakage.
        """
        dictionary = self.dictionary(target)
        if target == "vision":
            crossed = mix_text_to_patches(plan, dictionary.combine(codes)) + dictionary.decoder_bias
        else:
            crossed = dictionary.decode_dense(mix_codes_to_text(plan, codes, self.options.latents))
        return crossed * dictionary.scale

    def extents(self, batch: PairBatch) -> Extents:
        """The sizes of a training step on this batch; a GPU has to be waited for."""
        auxiliary, pairs = self.options.auxiliary, len(batch.vision_tokens)
        asked = [batch.text_offsets.diff().max()]
        if auxiliary.coefficient:
            asked += [self._clock(side).most_dead(auxiliary.dead_after_pairs, pairs) for side in SIDES]
        longest, *dead = torch.stack(asked).tolist()  # in one go
        return Extents(len(batch.text_tokens), max(1, longest), (dead[0], dead[1]) if dead else (0, 0))

    def losses(
        self,
        batch: PairBatch,
        extents: Extents | None = None,
    ) -> Losses:
        """`alpha L_self + beta L_align + gamma L_cross`, L1 and auxiliary terms (3.4), of a batch of pairs.

        In training mode this also advances `activity`, the clock of dead latents. Terms: `self_*`,
        `alignment`, `cross_*` (named by the side reconstructed), `l1_shared`, `l1_private`, `auxiliary_*`.
        """
        extents = extents or self.extents(batch)
        activations = {"vision": batch.vision_tokens.flatten(0, 1), "text": batch.text_tokens}
        counted = {"vision": None, "text": is_token(batch)}
        encoded = {side: self._encoded(side, activations[side], counted[side]) for side in SIDES}
        dictionaries = {side: self.dictionary(side) for side in SIDES}
        # Decoding is linear, so the few text codes are decoded before they are mixed or pooled, once for both.
        from_text = self.dictionary("vision").combine(encoded["text"].shared)
        places = token_places(batch.text_offsets, len(batch.text_tokens), extents.longest_caption)

        terms = self_terms(encoded)
        if self.options.needs_plan:
            patches = batch.vision_tokens.shape[1]
            vision, text = (encoded[side].shared for side in SIDES)
            coupling = self._couple(vision, text, places, patches)
            if self.options.aligns_by("transport_cost"):
                terms["alignment"] = transport_cost(coupling)
            if self.options.gamma:
                terms |= cross_terms(encoded, from_text, coupling.plan, dictionaries, self.shared_width)
        if self.options.aligns_by("global_lock"):
            terms["alignment"] = global_lock(encoded, from_text, places, dictionaries, self.shared_width)
        terms |= l1_terms(encoded, self.options.term_weights)
        clocks = {side: self._clock(side) for side in SIDES}
        if self.training:
            for side in SIDES:
                clocks[side].record(encoded[side].coded.codes, pairs=len(batch.vision_tokens))
        terms |= auxiliary_terms(encoded, dictionaries, clocks, self.options.auxiliary, extents.dead)
        return weighted_sum(terms, self.options.term_weights)

    def project_gradients(self) -> None:
        """With unit-norm decoders, drop the part of their gradients that would only change the norm."""
        if self.options.unit_norm_decoder:
            for side in SIDES:
                self.dictionary(side).project_gradients()

    def normalise_weights(self) -> None:
        """With unit-norm decoders, bring every direction back to unit length."""
        if self.options.unit_norm_decoder:
            for side in SIDES:
                self.dictionary(side).normalise_weights()

    def _clock(self, side: Side) -> LatentActivity:
        return cast(LatentActivity, self.activity[side])

    def _encoded(self, side: Side, activations: Tensor, counted: Tensor | None) -> EncodedSide:
        dictionary = self.dictionary(side)
        scaled = dictionary.scaled(activations)
        coded = dictionary.autoencode(scaled, self._groups("full_joint"))
        if counted is not None:
            codes = coded.codes._replace(values=coded.codes.values * counted[:, None])
            coded = coded._replace(codes=codes)
        return EncodedSide(scaled, coded, self._shared_part(coded.codes), counted)

    def _groups(self, mode: EncodeMode) -> list[Group]:
        options, shared_width = self.options, self.shared_width
        everything = Group(0, options.latents, options.k_shared + options.k_private)
        if self.private_width == 0:
            if mode == "private":
                raise ConfigError(
                    f"no private codes: at shared_ratio = {options.shared_ratio} every latent is shared; "
                    "ask for mode 'shared', or train with a lower shared_ratio"
                )
            return [everything]
        shared = Group(0, shared_width, options.k_shared)
        private = Group(shared_width, options.latents, options.k_private)
        return {
            "full_joint": [shared, private],
            "full_global": [everything],
            "shared": [shared],
            "private": [private],
        }[mode]

    def _shared_part(self, codes: SparseCodes) -> SparseCodes:
        """The shared latents of "full_joint" codes, which come first."""
        if self.private_width == 0:
            return codes
        k = self.options.k_shared
        return SparseCodes(codes.values[:, :k], codes.indices[:, :k])

    def _couple(
        self,
        vision: SparseCodes,
        text: SparseCodes,
        places: TokenPlaces,
        patches: int,
    ) -> Coupling:
        options = self.options
        unrolled = options.plan_gradient == "unrolled"
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and (unrolled or self.options.aligns_by("transport_cost"))
        ):
            return couple(
                vision,
                text,
                places,
                patches,
                width=self.shared_width,
                epsilon=options.epsilon,
                iterations=options.iterations,
                guidance=options.guidance,
                detach_plan=not unrolled,
            )
