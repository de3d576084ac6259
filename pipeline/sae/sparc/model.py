"""SPARC: two dictionaries whose latents are chosen together for a pair, and which rebuild each other's side.

"SPARC: Concept-Aligned Sparse Autoencoders for Cross-Model and Cross-Modal Interpretability" (arXiv 2507.06265).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import ConfigError
from pipeline.sae.base import EncodeMode
from pipeline.sae.losses import Losses, weighted_sum
from pipeline.sae.pair_mask import PairMask
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES, Side, other_side
from pipeline.sae.sparc.global_top_k import global_top_k
from pipeline.sae.sparc.options import SparcOptions
from pipeline.sae.two_dictionaries import TwoDictionaries
from pipeline.sparse.codes import SparseCodes
from pipeline.sparse.top_k import Group


class SparcSAE(TwoDictionaries):
    """A dictionary per side, with directions of unit length; all latents are shared.

    In training a pair's latents are chosen by both sides (`global_top_k`). Everywhere else a side is encoded alone, by
    its own Top-K: a picture has no caption then, and codes that were chosen together agree by construction.
    """

    options: SparcOptions

    def __init__(
        self, options: SparcOptions, vision_channels: int, text_channels: int, seed: int = 0
    ) -> None:
        """New random unit directions, drawn from `seed` alone; `initialise` sets scales and biases."""
        super().__init__(options.latents, vision_channels, text_channels, seed)
        self.options = options
        self.shared_width = options.latents
        if options.side_dropout:
            self.side_mask = PairMask(options.side_dropout, len(SIDES), seed)
        if options.matching:
            self.register_buffer("confidence", torch.zeros(options.latents))

    def encode(
        self, side: Side, activations: Float[Tensor, "token channel"], mode: EncodeMode = "full_joint"
    ) -> SparseCodes:
        """Encode a side alone, by its own k largest scores; activations [token, channel], float32, raw cache units.

        Raises:
            ConfigError: "private", as every latent is shared.
        """
        if mode == "private":
            raise ConfigError("no private codes: every latent of sparc is shared; ask for mode 'shared'")
        dictionary = self.dictionary(side)
        group = Group(0, self.options.latents, self.options.k)
        return dictionary.encode(dictionary.scaled(activations), [group])

    def losses(self, pairs: Pairs) -> Losses:
        """Compute each side's error by its own code and by the other's, as shares of what is to be rebuilt.

        Terms: `self_*` and `cross_*`, named by the side that is rebuilt. While the sides are held apart, each has its
        own Top-K and nothing crosses.
        """
        rows = {side: pairs.rows(side) for side in SIDES}
        codes = self._encoded_apart(rows) if self.apart else self._encoded_together(rows)
        terms = {f"self_{side}": relative_error(self.decode(side, codes[side]), rows[side]) for side in SIDES}
        if self.options.cross and not self.apart:
            for side in SIDES:
                crossed = self.decode(side, codes[other_side(side)])
                terms[f"cross_{side}"] = relative_error(crossed, rows[side])
        return weighted_sum(terms, self.options.term_weights)

    def _encoded_apart(self, rows: Mapping[Side, Tensor]) -> dict[Side, SparseCodes]:
        return {side: self.encode(side, rows[side]) for side in SIDES}

    def _encoded_together(self, rows: Mapping[Side, Tensor]) -> dict[Side, SparseCodes]:
        scores: dict[Side, Tensor] = {}
        for side in SIDES:
            dictionary = self.dictionary(side)
            centred = dictionary.scaled(rows[side]) - dictionary.centre()
            with torch.autocast(centred.device.type, enabled=False):
                scores[side] = F.linear(centred, dictionary.encoder, dictionary.encoder_bias)
        return global_top_k(scores, self.options.k, self._silent(len(rows["vision"])))

    def _silent(self, pairs: int) -> dict[Side, Bool[Tensor, " pair"]] | None:
        """Draw the pairs in which a side has no say, in training; None if both always have."""
        if not (self.options.side_dropout and self.training):
            return None
        drawn = self.side_mask.draw(pairs)
        return {side: drawn[:, column] for column, side in enumerate(SIDES)}


def relative_error(
    prediction: Float[Tensor, "item channel"], target: Float[Tensor, "item channel"]
) -> Float[Tensor, ""]:
    """Average over items the squared error as a share of the target's squared length; 0 of a target of zeros."""
    lengths = target.square().sum(dim=1)
    squared = (prediction - target).square().sum(dim=1)
    return (squared / torch.where(lengths > 0, lengths, torch.inf)).mean()
