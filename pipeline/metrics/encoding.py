"""A batch of pairs as a dictionary sees it: codes of both sides in every mode, and the plan between them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cache import PairBatch
from pipeline.metrics.item_codes import image_level_of_captions, image_level_of_images
from pipeline.metrics.options import Pooling
from pipeline.metrics.pooling import pool
from pipeline.not_finite import refuse_not_finite
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.crossing import transport_plan
from pipeline.sae.pairs import Pairs
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import SparseCodes
from pipeline.transport.plan import TransportPlan


class EncodedBatch(NamedTuple):
    """Codes and plan of a batch, on the dictionary's device.

    Attributes:
        batch: The pairs as they are cached.
        pairs: What the dictionary reads of them, on its device.
        codes: Codes of every token per side and mode; vision tokens pair by pair, text tokens packed.
        full_mode: The mode that uses all a dictionary has: `full_joint`, or `full_global` without private latents.
        plan: Transport plans, from the shared codes alone.
        shared_width: Number of shared latents of patches and tokens.
        image_level: The image-level codes of the pairs' two sides, dense; None if the dictionary has none.
    """

    batch: PairBatch
    pairs: Pairs
    codes: dict[Side, dict[EncodeMode, SparseCodes]]
    full_mode: EncodeMode
    plan: TransportPlan
    shared_width: int
    image_level: dict[Side, Float[Tensor, "pair image_latent"]] | None = None

    @property
    def patches(self) -> int:
        """Patches per pair."""
        return self.pairs.patches

    def activations(self, side: Side) -> Float[Tensor, "token channel"]:
        """Every valid token of a side, in the order of the codes."""
        return self.pairs.rows(side)

    def offsets(self, side: Side) -> Int64[Tensor, " pair_plus_1"]:
        """Where each pair's tokens of a side begin."""
        return self.pairs.offsets(side)

    def pooled(self, side: Side, pooling: Pooling) -> Float[Tensor, "pair item_latent"]:
        """Shared codes pooled over each pair's tokens of a side, and after them its image-level codes."""
        pooled = pool(self.codes[side]["shared"], self.offsets(side), self.shared_width, pooling)
        return pooled if self.image_level is None else torch.cat([pooled, self.image_level[side]], dim=1)


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
    pairs = sae.reader.pairs(batch).to(device)
    which = f"of the pairs {int(batch.pair[0])} to {int(batch.pair[-1])}"
    codes: dict[Side, dict[EncodeMode, SparseCodes]] = {}
    for side in SIDES:
        rows = pairs.rows(side)
        refuse_not_finite(f"the {side} activations {which}", rows)
        codes[side] = encode_modes(sae, side, rows)
    vision, text = (codes[side]["shared"] for side in SIDES)
    plan = transport_plan(sae, vision, text, pairs.text_offsets, pairs.patches)
    for side, modes in codes.items():
        for one in modes.values():
            refuse_not_finite(f"the {side} codes {which}", one.values)
    refuse_not_finite(f"the transport plans {which}", plan.plan)
    full_mode, image_level = next(iter(codes["vision"])), _image_level(sae, batch, pairs, codes["text"])
    return EncodedBatch(batch, pairs, codes, full_mode, plan, sae.shared_width, image_level)


def _image_level(
    sae: SparseAutoencoder, batch: PairBatch, pairs: Pairs, text: dict[EncodeMode, SparseCodes]
) -> dict[Side, Float[Tensor, "pair image_latent"]] | None:
    readout = sae.image_level
    if readout is None:
        return None
    private, offsets = text["private"], pairs.offsets("text")
    return {
        "vision": image_level_of_images(readout, batch.vision_pooled.to(offsets.device)),
        "text": image_level_of_captions(readout, private, offsets, sae.options.latents),
    }
