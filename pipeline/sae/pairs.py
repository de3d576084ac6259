"""A batch of pairs as a dictionary reads it: two sides, packed, and which rows are tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes, max_pool_codes, owners
from pipeline.transport.plan import TokenPlaces, token_places


@dataclass(frozen=True)
class Pairs:
    """Activations of both sides, raw cache units; a side of pooled embeddings has one patch or one token per pair.

    Attributes:
        vision: what is read of the images.
        text: what is read of the captions, one after another. Rows after the last caption may hold anything finite.
        text_offsets: pair p has the rows text_offsets[p] up to text_offsets[p + 1] of `text`.
        longest_caption: upper bound of a caption's tokens, at least 1; None if a GPU may be waited for to find it.
    """

    vision: Float[Tensor, "pair patch vision_channel"]
    text: Float[Tensor, "token text_channel"]
    text_offsets: Int64[Tensor, " pair_plus_1"]
    longest_caption: int | None = None

    def __len__(self) -> int:
        return len(self.vision)

    @property
    def patches(self) -> int:
        """Patches per image."""
        return self.vision.shape[1]

    def rows(self, side: Side) -> Float[Tensor, "token channel"]:
        """Hand out what is read of a side, pair by pair."""
        return self.vision.flatten(0, 1) if side == "vision" else self.text

    def offsets(self, side: Side) -> Int64[Tensor, " pair_plus_1"]:
        """Tell where each pair's rows of a side begin."""
        if side == "text":
            return self.text_offsets
        return torch.arange(len(self) + 1, device=self.text_offsets.device) * self.patches

    def owners(self, side: Side) -> Int64[Tensor, " token"]:
        """Tell which pair each row of a side belongs to; rows after the last caption, to the last pair."""
        return owners(self.offsets(side), len(self.rows(side)))

    def largest_codes(self, side: Side, codes: SparseCodes, width: int) -> Float[Tensor, "pair {width}"]:
        """Take each pair's largest code per latent, of latents 0 .. width - 1, from the codes of a side's rows."""
        return max_pool_codes(codes, self.owners(side), len(self), width)

    def mask(self, side: Side) -> Bool[Tensor, " token"] | None:
        """Tell which rows of a side belong to a pair; None if all do, as of vision."""
        if side == "vision":
            return None
        row = torch.arange(len(self.text), device=self.text_offsets.device)
        return row < self.text_offsets[-1]

    def places(self) -> TokenPlaces:
        """Find where the tokens stand when captions are padded to one length."""
        return token_places(self.text_offsets, len(self.text), self.longest_caption)

    def to(self, device: torch.device) -> Pairs:
        """Move it to another device."""
        vision, text, offsets = (part.to(device) for part in (self.vision, self.text, self.text_offsets))
        return Pairs(vision, text, offsets, self.longest_caption)
