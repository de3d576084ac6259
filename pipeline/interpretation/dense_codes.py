"""Codes and directions with a column or a row per latent, and in their places: for looking at, not for training."""

from math import prod
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cache import ActivationCache
from pipeline.errors import ConfigError
from pipeline.sae.base import EncodeMode, SparseAutoencoder
from pipeline.sae.sides import Side

Part = Literal["all", "shared", "private"]
"""Which latents; in "all" the shared ones come first."""

_MODES: dict[Part, EncodeMode] = {"all": "full_joint", "shared": "shared", "private": "private"}


@torch.inference_mode()
def dense_codes(
    sae: SparseAutoencoder,
    side: Side,
    activations: Float[Tensor, "*token channel"],
    part: Part = "shared",
    offsets: Int64[Tensor, " item_plus_1"] | None = None,
) -> Float[Tensor, "*token latent"]:
    """Encode activations with one column per latent.

    Args:
        sae: the dictionary.
        side: which side's activations they are.
        activations: float32, as they are cached, such as `batch.vision_tokens` [pair, patch, channel].
        part: which latents.
        offsets: where the rows of each image or caption begin, as `batch.text_offsets` says of `batch.text_tokens`.
            Only a dictionary centred by position asks for it, and only of activations [token, channel].

    Raises:
        ConfigError: the dictionary has no codes of this part; or is centred by position, and `offsets` is missing.
    """
    device = next(sae.parameters()).device
    rows = activations.reshape(-1, activations.shape[-1]).to(device)
    if sae.centring is not None:
        rows = sae.reader.read(side, rows, _offsets(activations, offsets).to(device))
    codes = sae.encode(side, rows, _MODES[part])
    dense = codes.dense(sae.shared_width + sae.private_width)[:, _columns(sae, part)]
    return dense.reshape(*activations.shape[:-1], -1)


def directions(sae: SparseAutoencoder, side: Side, part: Part = "shared") -> Float[Tensor, "latent channel"]:
    """Copy which way each latent moves a side's activations, as the decoder has learned it."""
    return sae.directions(side).detach()[_columns(sae, part)].clone()


def heat_map(
    sae: SparseAutoencoder, cache: ActivationCache, pair: int, latent: int
) -> Float[np.ndarray, "row column"]:
    """Show how strongly a shared latent fires in every patch of a pair's picture, float32.

    Raises:
        ConfigError: the dictionary knows no places in a picture, or has no such latent.
    """
    if not sae.reader.knows_places:
        raise ConfigError(
            "heat map: this dictionary reads pooled embeddings and knows no places in a picture"
        )
    if not 0 <= latent < sae.shared_width:
        raise ConfigError(
            f"latent {latent}: the dictionary has the shared latents 0 to {sae.shared_width - 1}"
        )
    fires = dense_codes(sae, "vision", cache.read_pairs([pair]).vision_tokens)[0, :, latent]
    return fires.reshape(cache.manifest.grid).cpu().numpy()


def _offsets(
    activations: Float[Tensor, "*token channel"], offsets: Int64[Tensor, " item_plus_1"] | None
) -> Int64[Tensor, " item_plus_1"]:
    """Tell where each item's tokens begin: by default, the last dimension but one is an item's."""
    if offsets is not None:
        return offsets
    *items, tokens, _ = activations.shape
    if not items:
        raise ConfigError(
            "offsets: this dictionary is centred by position, so say where each item's tokens begin, such as "
            "batch.text_offsets"
        )
    return torch.arange(prod(items) + 1) * tokens


def _columns(sae: SparseAutoencoder, part: Part) -> slice:
    first = sae.shared_width if part == "private" else 0
    return slice(first, sae.shared_width if part == "shared" else None)
