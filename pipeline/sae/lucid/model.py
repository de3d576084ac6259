"""LUCID: one dictionary of shared latents and two of private ones, aligned by guided transport.

"LUCID-SAE: Learning Unified Vision-Language Sparse Codes for Interpretable Concept Discovery"
(arXiv 2602.07311). Every variant of the paper's tables is a configuration of this one class.
"""

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.sae.auxiliary import LatentActivity
from pipeline.sae.balance import LatentFrequency
from pipeline.sae.base import EncodeMode
from pipeline.sae.batch_top_k import BatchTopK
from pipeline.sae.dictionary import Autoencoding, Dictionary
from pipeline.sae.jump_relu import JumpReLU
from pipeline.sae.losses import Losses, weighted_sum
from pipeline.sae.lucid.options import LucidOptions
from pipeline.sae.lucid.terms import (
    Encoded,
    EncodedSide,
    auxiliary_terms,
    balance,
    budget_terms,
    contrast,
    cross_terms,
    global_lock,
    l1_terms,
    self_terms,
    transport_cost,
)
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES, Side
from pipeline.sae.thresholds import Thresholds
from pipeline.sae.two_dictionaries import TwoDictionaries
from pipeline.sae.whitening import SideWhitening
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group
from pipeline.transport.coupling import Coupling, couple
from pipeline.transport.options import TransportOptions
from pipeline.transport.plan import TokenPlaces


class LucidSAE(TwoDictionaries):
    """Two dictionaries, one per side, whose first `shared_width` latents mean the same on both (section 3.1).

    A new model has random unit directions, drawn from `seed` alone; `initialise` sets scales and biases.
    """

    options: LucidOptions

    def __init__(
        self, options: LucidOptions, vision_channels: int, text_channels: int, seed: int = 0
    ) -> None:
        super().__init__(
            options.latents,
            vision_channels,
            text_channels,
            seed,
            relu=options.relu,
            subtract_decoder_bias=options.subtract_decoder_bias,
        )
        self.options, self.unit_norm_decoder = options, options.unit_norm_decoder
        self.shared_width, self.private_width = options.shared_width, options.private_width
        self.prefix_widths = options.prefix_widths(self.shared_width)
        dead_after = options.auxiliary.dead_after_pairs
        self.activity = nn.ModuleDict({side: LatentActivity(options.latents, dead_after) for side in SIDES})
        balanced = SIDES if options.balance.weight else ()
        self.frequency = nn.ModuleDict({side: LatentFrequency(self.shared_width) for side in balanced})
        self.batch_top_k, self.jump_relu = nn.ModuleDict(), nn.ModuleDict()
        budgets = self._budgets("full_joint")
        if options.activation != "top_k":
            self.shared_budget = budgets[0].k
        for side in SIDES:
            if options.activation == "batch_top_k":
                self.batch_top_k[side] = BatchTopK(budgets, options.batch_top_k_cap)
            if options.activation == "jump_relu":
                self.jump_relu[side] = JumpReLU(options.latents, options.jump_relu)
        if options.matching:
            self.register_buffer("confidence", torch.zeros(options.latents))
        self.transport_options = TransportOptions(options.epsilon, options.iterations, options.guidance)

    def begin_with(self, side: Side, directions: Float[Tensor, "latent channel"]) -> None:
        """Let a side's encoder and decoder begin with these directions, of unit length."""
        self.dictionary(side).begin_with(directions)

    def reindex(self, side: Side, order: Int64[Tensor, " latent"]) -> None:
        """Renumber a side's latents, also among the dead; no reconstruction of the side changes.

        With thresholds these are those of the next batches, in which parts may have other latents.
        """
        super().reindex(side, order)
        cast(LatentActivity, self.activity[side]).reindex(order)
        if self.batch_top_k:
            cast(BatchTopK, self.batch_top_k[side]).restart()
        if self.jump_relu:
            cast(JumpReLU, self.jump_relu[side]).reindex(order)
        if side == "text" and self.image_level is not None:
            self.image_level.reindex(order)

    def fold(self, side: Side, whitening: SideWhitening) -> None:
        """Change a side's dictionary so that it reads raw activations as it read whitened ones."""
        self.dictionary(side).fold(whitening)

    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Encode a side's activations [token, channel], float32, raw cache units.

        Args:
            mode: "full_joint" is the model's own code, Top-k_shared of the shared latents, then Top-k_private of
                the private ones; "full_global" one Top-(k_shared + k_private) over everything; "shared" and
                "private" one part alone. Without private latents the first three are the same. With
                thresholds all latents that reach theirs, of which "full_global" has at most cap times as many.

        Raises:
            ConfigError: "private" of a model that has no private latents.
        """
        dictionary = self.dictionary(side)
        codes = dictionary.encode(dictionary.scaled(activations), self._groups(mode))
        thresholds = self._thresholds(side)
        return codes if thresholds is None else thresholds.above_threshold(codes)

    def losses(self, pairs: Pairs) -> Losses:
        """Compute `alpha L_self + beta L_align + gamma L_cross`, L1 and auxiliary terms (3.4).

        In training mode this also advances `activity`, the clock of dead latents. Terms: `self_*`,
        `alignment`, `cross_*` (named by the side reconstructed), `contrast`, `balance`, `l1_shared`, `l1_private`,
        `budget_*`, `auxiliary_*`. While the sides are held apart, nothing ties them to each other.
        """
        dictionaries = {side: self.dictionary(side) for side in SIDES}
        encoded = {side: self._encoded(side, pairs.rows(side), pairs.mask(side)) for side in SIDES}
        terms = self_terms(encoded, dictionaries, () if self.apart else self.prefix_widths)
        if not self.apart:
            terms |= self._shared_terms(encoded, dictionaries, pairs)
        terms |= l1_terms(encoded, self.options.term_weights) | budget_terms(encoded)
        terms |= self._auxiliary_terms(encoded, dictionaries, len(pairs))
        return weighted_sum(terms, self.options.term_weights)

    def _shared_terms(
        self, encoded: Encoded, dictionaries: Mapping[Side, Dictionary], pairs: Pairs
    ) -> dict[str, Tensor]:
        """The terms that tie the sides to each other, each where it has a weight."""
        options, places = self.options, pairs.places()
        # Decoding is linear, so the few text codes are decoded before they are mixed or pooled, once for both.
        from_text = self.decoder("vision").combine(encoded["text"].shared)
        terms = {}
        if options.needs_plan:
            coupling = self._couple(encoded, places, pairs.patches)
            if options.aligns_by("transport_cost"):
                terms["alignment"] = transport_cost(coupling)
            if options.gamma:
                terms |= cross_terms(encoded, from_text, coupling.plan, dictionaries, self.shared_width)
        if options.aligns_by("global_lock"):
            terms["alignment"] = global_lock(encoded, from_text, places, dictionaries, self.shared_width)
        if options.contrast.weight:
            terms["contrast"] = contrast(encoded, pairs, places, self.shared_width, options.contrast.scale)
        if options.balance.weight:
            clocks = {side: cast(LatentFrequency, self.frequency[side]) for side in SIDES}
            budget = self._budgets("shared")[0].k
            terms["balance"] = balance(encoded, pairs, places, clocks, budget, options.balance.most)
        return terms

    def _auxiliary_terms(
        self, encoded: Encoded, dictionaries: Mapping[Side, Dictionary], pairs: int
    ) -> dict[str, Tensor]:
        clocks = {side: cast(LatentActivity, self.activity[side]) for side in SIDES}
        options = self.options.auxiliary
        most_dead = (
            {side: clock.bound(pairs) for side, clock in clocks.items()} if options.coefficient else {}
        )
        if self.training:
            for side, clock in clocks.items():
                clock.record(encoded[side].coded.codes, pairs)
        return auxiliary_terms(encoded, dictionaries, clocks, options, most_dead)

    def _encoded(self, side: Side, activations: Tensor, mask: Tensor | None) -> EncodedSide:
        dictionary = self.dictionary(side)
        scaled = dictionary.scaled(activations)
        thresholds, budget_error = self._thresholds(side), None
        if thresholds is None:
            coded = dictionary.autoencode(scaled, self._groups("full_joint"))
        else:
            candidates = dictionary.encode(scaled, self._groups("full_joint"))
            codes, budget_error = thresholds.of_batch(candidates, self._budgets("full_joint"), mask)
            combined = dictionary.linear_decoder().combine(codes)
            coded = Autoencoding(codes, combined + dictionary.decoder_bias)
        if mask is not None:
            codes = coded.codes._replace(values=coded.codes.values * mask[:, None])
            coded = coded._replace(codes=codes)
        return EncodedSide(scaled, coded, self._shared_part(coded.codes), mask, budget_error)

    def _thresholds(self, side: Side) -> Thresholds | None:
        """What decides which candidates of a side are active; None if a Top-K does."""
        both = self.batch_top_k or self.jump_relu
        return cast(Thresholds, both[side]) if both else None

    def _groups(self, mode: EncodeMode) -> list[Group]:
        """The groups that a token is encoded by: with thresholds those of its candidates."""
        budgets, thresholds = self._budgets(mode), self._thresholds("vision")
        return budgets if thresholds is None else thresholds.candidates(budgets)

    def _budgets(self, mode: EncodeMode) -> list[Group]:
        options, shared_width = self.options, self.shared_width
        everything = Group(0, options.latents, options.k_shared + options.k_private)
        if self.apart:
            return [everything]
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
        if self.apart or self.private_width == 0:
            return codes
        k = self._groups("shared")[0].k
        return SparseCodes(codes.values[:, :k], codes.indices[:, :k])

    def _couple(self, encoded: Encoded, places: TokenPlaces, patches: int) -> Coupling:
        options = self.options
        unrolled = options.plan_gradient == "unrolled"
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and (unrolled or options.aligns_by("transport_cost"))
        ):
            return couple(
                encoded["vision"].shared,
                encoded["text"].shared,
                places,
                patches,
                self.shared_width,
                self.transport_options,
                detach_plan=not unrolled,
            )
