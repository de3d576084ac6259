"""A batch of pairs as a dictionary sees it: codes of both sides in every mode, and the plan between them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cache import PairBatch
from pipeline.metrics.options import Pooling
from pipeline.metrics.pooling import pool
from pipeline.not_finite import refuse_not_finite
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.inputs import select_inputs
from pipeline.sae.sides import Side
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.plan import TransportPlan


class EncodedBatch(NamedTuple):
    """Codes and plan of a batch, on the dictionary's device.

    Attributes:
        batch: The activations that the dictionary reads: with pooled inputs one patch and one token per pair.
        codes: Codes of every token per side and mode; vision tokens pair by pair, text tokens packed.
        full_mode: The mode that uses all a dictionary has: `full_joint`, or `full_global` without private latents.
        plan: Transport plans, from the shared codes alone.
        shared_width: Number of shared latents.
    """

    batch: PairBatch
    codes: dict[Side, dict[EncodeMode, SparseCodes]]
    full_mode: EncodeMode
    plan: TransportPlan
    shared_width: int

    @property
    def patches(self) -> int:
        """Patches per pair."""
        return self.batch.vision_tokens.shape[1]

    def activations(self, side: Side) -> Float[Tensor, "token channel"]:
        """Every valid token of a side, in the order of the codes."""
        return self.batch.text_tokens if side == "text" else self.batch.vision_tokens.flatten(0, 1)

    def offsets(self, side: Side) -> Int64[Tensor, "pair+1"]:
        """Where each pair's tokens of a side begin."""
        if side == "text":
            return self.batch.text_offsets
        return torch.arange(len(self.batch.pair) + 1, device=self.batch.pair.device) * self.patches

    def pooled(self, side: Side, pooling: Pooling) -> Float[Tensor, "pair shared_latent"]:
        """Shared codes pooled over each pair's tokens of a side."""
        return pool(self.codes[side]["shared"], self.offsets(side), self.shared_width, pooling)


def encode_modes(
    sae: SparseAutoencoder, side: Side, activations: Float[Tensor, "token channel"]
) -> dict[EncodeMode, SparseCodes]:
    """Codes by every path that exists (LUCID, arXiv 2602.07311, table 6), the fullest first.

    Without private latents there are two, and they agree. With them, `full_joint` is the shared and the private
    code side by side, each with its own Top-K.
    """
    shared = sae.encode(side, activations, "shared")
    if sae.private_width == 0:
        return {"full_global": shared, "shared": shared}
    private = sae.encode(side, activations, "private")
    joint = SparseCodes(*(torch.cat(parts, dim=1) for parts in zip(shared, private, strict=True)))
    full_global = sae.encode(side, activations, "full_global")
    return {"full_joint": joint, "full_global": full_global, "shared": shared, "private": private}


def encode_batch(sae: SparseAutoencoder, batch: PairBatch, device: torch.device) -> EncodedBatch:
    """Move a batch to `device`, where `sae` is, and encode it in every mode.

    Raises:
        RunError: an activation, a code or the plan is not finite.
    """
    batch = PairBatch(*(part.to(device) for part in select_inputs(batch, sae.inputs)))
    pairs = f"of the pairs {int(batch.pair[0])} to {int(batch.pair[-1])}"
    for side, activations in (("vision", batch.vision_tokens), ("text", batch.text_tokens)):
        refuse_not_finite(f"the {side} activations {pairs}", activations)
    vision = encode_modes(sae, "vision", batch.vision_tokens.flatten(0, 1))
    text = encode_modes(sae, "text", batch.text_tokens)
    patches = batch.vision_tokens.shape[1]
    plan = sae.transport(vision["shared"], text["shared"], batch.text_offsets, patches)
    for side, modes in (("vision", vision), ("text", text)):
        for codes in modes.values():
            refuse_not_finite(f"the {side} codes {pairs}", codes.values)
    refuse_not_finite(f"the transport plans {pairs}", plan.plan)
    full_mode = next(iter(vision))
    return EncodedBatch(batch, {"vision": vision, "text": text}, full_mode, plan, sae.shared_width)
