"""Do the images and the captions that fire a latent most agree with each other, and not with other latents'?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from pipeline.errors import RunError
from pipeline.metrics.encoding import EncodedBatch
from pipeline.metrics.items import Items, TopItems
from pipeline.metrics.judge import Judge
from pipeline.metrics.meter import Meter
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import Pooling
from pipeline.sae.sides import SIDES, Side

_NONE_ALIVE = NotDefined("no shared latent fires on both sides of this split")
_NO_DIRECTION = NotDefined("the judge's embeddings of the drawn latents' items are zero")


class AlignmentMeter(Meter):
    """The `alignment` part of metrics.json: intra- and inter-similarity (VL-SAE, arXiv 2510.21323).

    A latent's concept on a side is the mean, brought to unit length, of what a judge makes of the items that fire it
    most: I_c of images, T_c of captions. Departures from the public code, which make the numbers comparable: each
    image and each wording of a caption enters once; latents are drawn from those alive on both sides, and the others
    are counted rather than dropped silently; inter-similarity is symmetric, over I_i T_j and I_j T_i.

    A dictionary of patches and tokens activates a latent on an item as `pooling` says.

    Args:
        items: The items of the evaluated pairs.
        latents: Number of shared latents.
        judge: Compares images with captions.
        draws: Latents to score, at most.
        ranks: Items per latent and side; a latent that fires on fewer has those.
        seed: Draws the latents.
        pooling: How token codes become an item's.
    """

    def __init__(
        self,
        items: Items,
        latents: int,
        judge: Judge,
        draws: int,
        ranks: int,
        seed: int,
        pooling: Pooling,
    ) -> None:
        self._judge, self._draws, self._seed, self._pooling = judge, draws, seed, pooling
        self._first = {side: torch.from_numpy(items.first(side)) for side in SIDES}
        self._top = {side: TopItems(latents, ranks) for side in SIDES}

    def update(self, encoded: EncodedBatch) -> None:
        """Add the items of a batch that were not seen before."""
        pair = encoded.batch.pair
        for side in SIDES:
            new = self._first[side][pair.cpu()].to(pair.device)
            self._top[side].update(encoded.pooled(side, self._pooling)[new], pair[new])

    def result(self) -> dict[str, Any]:
        """Similarities of the drawn latents, and how many there are to draw from.

        Returns:
            `intra_similarity`, mean cos(I_c, T_c), the higher the better; `inter_similarity`, mean cos(I_i, T_j) over
            i != j, the lower the better; `latents`, the number of latents scored; `alive`, those that an image
            and a caption of the split fire; `dead`: `vision_only`, `text_only` and `both_sides`; if there are any,
            `without_direction`, drawn latents left out because the judge's embeddings of their items add up to zero.
            A similarity that has nothing to average is not defined.

        Raises:
            RunError: the judge embeds images and captions into spaces of different dimensions.
        """
        alive = {side: self._top[side].alive.cpu().numpy() for side in SIDES}
        candidates = np.flatnonzero(alive["vision"] & alive["text"])
        generator = np.random.default_rng(self._seed)
        chosen = np.sort(generator.choice(candidates, min(self._draws, len(candidates)), replace=False))
        numbers: dict[str, Any] = {
            "latents": len(chosen),
            "alive": len(candidates),
            "dead": {
                "vision_only": int((~alive["vision"] & alive["text"]).sum()),
                "text_only": int((alive["vision"] & ~alive["text"]).sum()),
                "both_sides": int((~alive["vision"] & ~alive["text"]).sum()),
            },
        }
        if not len(chosen):
            return numbers | {"intra_similarity": _NONE_ALIVE, "inter_similarity": _NONE_ALIVE}
        images, captions = (self._concepts(side, chosen) for side in SIDES)
        if images.shape[1] != captions.shape[1]:
            raise RunError(
                f"the judge embeds images in {images.shape[1]} dimensions and captions in {captions.shape[1]}; "
                "it takes one space for both"
            )
        known = images.any(axis=1) & captions.any(axis=1)
        if not known.all():
            numbers |= {"latents": int(known.sum()), "without_direction": int((~known).sum())}
        return similarities(images[known], captions[known]) | numbers

    def _concepts(
        self, side: Side, latents: Int[np.ndarray, "latent"]
    ) -> Float[np.ndarray, "latent embedding"]:
        top = self._top[side]
        pairs, counted = top.item[latents].cpu().numpy(), (top.activation[latents] > 0).cpu().numpy()
        asked, place = np.unique(pairs[counted], return_inverse=True)
        embeddings = self._judge.embed(side, asked).astype(np.float64)
        latent = np.nonzero(counted)[0]
        total = np.zeros((len(latents), embeddings.shape[1]))
        np.add.at(total, latent, embeddings[place])
        return unit_length(total)


def similarities(
    images: Float[np.ndarray, "latent embedding"], captions: Float[np.ndarray, "latent embedding"]
) -> dict[str, float | NotDefined]:
    """Intra- and inter-similarity of the latents' concepts, which are of unit length; the second takes two latents."""
    cosine = images @ captions.T
    count = len(cosine)
    if not count:
        return {"intra_similarity": _NO_DIRECTION, "inter_similarity": _NO_DIRECTION}
    intra = float(np.trace(cosine)) / count
    if count == 1:
        return {
            "intra_similarity": intra,
            "inter_similarity": NotDefined("it takes two latents, and one is scored"),
        }
    inter = float(cosine.sum() - np.trace(cosine)) / (count * (count - 1))
    return {"intra_similarity": intra, "inter_similarity": inter}


def unit_length(rows: Float[np.ndarray, "row embedding"]) -> Float[np.ndarray, "row embedding"]:
    """Every row divided by its length; a zero row stays zero, and its cosine with anything is 0.

    A power of two brings each row near 1 before it is squared, so that no square is too large or too small for the
    dtype; such a factor changes no digit.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    near_one = np.ldexp(rows, -np.frexp(largest)[1])
    length = np.linalg.norm(near_one, axis=1, keepdims=True)
    return np.asarray(np.divide(near_one, length, out=np.zeros_like(near_one), where=length > 0))
