"""Degeneracy: does one shared latent answer for everything, and which latents never answer at all?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.sae.sides import SIDES, Side
from pipeline.sparse.codes import among_strongest


class DegeneracyMeter(Meter):
    """The `degeneracy` part of metrics.json (LUCID, arXiv 2602.07311, 4.5, equation 2).

    maxfreq is the largest share, over the shared latents m, of the items x with z_m(x) > 0. The paper does not say
    what an item is. Here `text_to_image` takes captions and `image_to_text` takes images (each once), the queries of a
    retrieval in that direction. An item's code is the Top-k of the pooled shared codes of its tokens, with k the
    shared latents a single token may use: without it, a latent that one incidental token fires would count.
    Image-level latents, which no token fires, are left out.

    Args:
        pair_images: int64 image row of every pair of the split.
        shared_width: Number of shared latents.
        private_width: Number of private latents per side.
        pooling: How token codes become an item's code.
        budget: Number of latents that an item fires at most; None is the width of its tokens' shared codes.
    """

    def __init__(
        self,
        pair_images: Int[np.ndarray, "pair"],
        shared_width: int,
        private_width: int,
        pooling: Pooling,
        budget: int | None = None,
    ) -> None:
        self._shared_width = shared_width
        self._pooling, self._budget = pooling, budget
        self._first_of_image = torch.zeros(len(pair_images), dtype=torch.bool)
        self._first_of_image[np.unique(pair_images, return_index=True)[1]] = True
        self._hits = {side: torch.zeros(shared_width, dtype=torch.int64) for side in SIDES}
        self._items = dict.fromkeys(SIDES, 0)
        self._alive = {side: torch.zeros(shared_width + private_width, dtype=torch.bool) for side in SIDES}

    def update(self, encoded: EncodedBatch) -> None:
        """Add a batch's captions and those of its images that were not seen before."""
        for side in SIDES:
            pooled = encoded.pooled(side, self._pooling)[:, : self._shared_width].cpu()
            if side == "vision":
                pooled = pooled[self._first_of_image[encoded.batch.pair.cpu()]]
            self._add_items(side, pooled, self._budget or encoded.codes[side]["shared"].values.shape[1])
            codes = encoded.codes[side][encoded.full_mode]
            self._alive[side][codes.indices[codes.values > 0].cpu()] = True

    def result(self) -> dict[str, Any]:
        """`text_to_image` and `image_to_text` in [0, 1]; `dead_shared` and `dead_private` as counts per side.

        A latent is dead on a side when no token of the split fires it there. `dead_private` is absent for a dictionary
        without private latents.
        """
        result: dict[str, Any] = {
            "text_to_image": self._largest_share("text"),
            "image_to_text": self._largest_share("vision"),
        }
        dead = {side: ~alive for side, alive in self._alive.items()}
        result["dead_shared"] = {side: int(dead[side][: self._shared_width].sum()) for side in SIDES}
        if len(dead["vision"]) > self._shared_width:
            result["dead_private"] = {side: int(dead[side][self._shared_width :].sum()) for side in SIDES}
        return result

    def _largest_share(self, side: Side) -> float | NotDefined:
        if not self._items[side]:
            return NotDefined("the split has no pairs")
        return int(self._hits[side].max()) / self._items[side]

    def _add_items(self, side: Side, pooled: Float[Tensor, "item shared_latent"], budget: int) -> None:
        self._hits[side] += among_strongest(pooled, budget).sum(dim=0)
        self._items[side] += len(pooled)
