"""For every latent: how many items fire it, and the items that fire it most.

An item is an image of patches or a caption of tokens. One pass; memory does not depend on the number of items.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.metrics.pooling import text_owner, vision_owner
from pipeline.sae.codes import SparseCodes


class Peaks(NamedTuple):
    """The strongest activation of every latent in every item.

    Attributes:
        activation: float32 `[item, latent]`; 0 where the latent does not fire.
        position: int64 `[item, latent]`, the first element that reaches it; meaningless where it does not fire.
    """

    activation: Float[Tensor, "item latent"]
    position: Int[Tensor, "item latent"]


def image_peaks(codes: SparseCodes, images: int, latents: int) -> Peaks:
    """Peaks over the patches of `images` images with equally many patches each, image after image."""
    patches = len(codes.values) // max(images, 1)
    image = vision_owner(images, patches, codes.values.device)
    return _peaks(
        codes, image, torch.arange(len(image), device=image.device) - image * patches, images, latents
    )


def caption_peaks(codes: SparseCodes, text_offsets: Int[Tensor, "caption+1"], latents: int) -> Peaks:
    """Peaks over the tokens of captions packed one after the other; a caption without tokens fires nothing."""
    caption = text_owner(text_offsets)
    position = torch.arange(len(caption), device=caption.device) - text_offsets[caption]
    return _peaks(codes, caption, position, len(text_offsets) - 1, latents)


def _peaks(
    codes: SparseCodes,
    item: Int[Tensor, "element"],
    position: Int[Tensor, "element"],
    items: int,
    latents: int,
) -> Peaks:
    slots = (item[:, None] * latents + codes.indices).flatten()
    values = codes.values.flatten()
    activation = values.new_zeros(items * latents).scatter_reduce_(0, slots, values, reduce="amax")
    places = position[:, None].expand_as(codes.indices).flatten()
    never = torch.iinfo(torch.int64).max
    candidates = torch.where(values == activation[slots], places, never)
    first = torch.full_like(activation, never, dtype=torch.int64)
    first.scatter_reduce_(0, slots, candidates, reduce="amin")
    return Peaks(activation.view(items, latents), first.view(items, latents))


class TopItems:
    """The items with the highest peaks of each latent, strongest first, earlier items first on ties.

    Attributes:
        activation: float32 `[latent, rank]`; 0 where fewer items than ranks fired the latent.
        item: int64 `[latent, rank]`, the caller's id of the item.
        position: int64 `[latent, rank]`, the element at which the item peaks.
        fired: int64 `[latent]`, number of items that fire the latent at all.
        items: number of items seen.
    """

    def __init__(self, latents: int, ranks: int, device: torch.device) -> None:
        self.activation = torch.zeros(latents, ranks, device=device)
        self.item = torch.full((latents, ranks), -1, device=device)
        self.position = torch.full((latents, ranks), -1, device=device)
        self.fired = torch.zeros(latents, dtype=torch.int64, device=device)
        self.items = 0

    def update(self, peaks: Peaks, item_ids: Int[Tensor, "item"]) -> None:
        """Take in one batch of items, in the order of the pass."""
        ranks = self.activation.shape[1]
        activation = torch.cat([self.activation, peaks.activation.T], dim=1)
        item = torch.cat([self.item, item_ids.expand(len(self.item), -1)], dim=1)
        position = torch.cat([self.position, peaks.position.T], dim=1)
        order = torch.sort(activation, dim=1, descending=True, stable=True).indices[:, :ranks]
        self.activation = activation.gather(1, order)
        self.item = item.gather(1, order)
        self.position = position.gather(1, order)
        self.fired += (peaks.activation > 0).sum(dim=0)
        self.items += len(item_ids)

    @property
    def frequency(self) -> Float[Tensor, "latent"]:
        """Share of the items seen that fire each latent, float64 in [0, 1]."""
        return self.fired.double() / max(self.items, 1)

    def ranked(self, latent: int) -> list[tuple[int, int, float]]:
        """(item, position, activation) of the items that fire `latent`, strongest first."""
        rows = zip(self.item[latent], self.position[latent], self.activation[latent], strict=True)
        return [(int(item), int(place), float(value)) for item, place, value in rows if value > 0]
