"""Does a picture prefer its own caption to the same caption with one fact changed?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from cache import ActivationCache
from pipeline.metrics.alignment import unit_length
from pipeline.metrics.item_codes import caption_codes, image_codes
from pipeline.metrics.options import Pooling
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

_ROUNDING = 1e-6
"""Cosines of what was encoded in float32 that are no further apart than this are equal."""


class ChangedCaption(NamedTuple):
    """A caption that is false of a picture in one fact: the hardest of wrong answers.

    Attributes:
        pair: the pair of the cache whose picture it is false of.
        caption: the pair's caption.
        kind: the kind of the fact that was changed, such as "colour".
        text: the caption with that fact changed.
    """

    pair: int
    caption: str
    kind: str
    text: str


class _Vectors(NamedTuple):
    """Of some pictures or texts."""

    codes: Float[np.ndarray, "item item_latent"]
    embeddings: Float[np.ndarray, "item embedding"]


@torch.inference_mode()
def prefer_own_captions(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone",
    changed: Sequence[ChangedCaption],
    means: Mapping[Side, Float[np.ndarray, "item_latent"]] | None,
    pooling: Pooling,
    batch_size: int,
    progress: Advance | None = None,
) -> dict[str, Any]:
    """Count how often a picture is nearer to its own caption than to the changed one: the part `changed_captions`.

    A tie counts as wrong; an answer at random is right half of the time. Both captions are encoded here, so that
    nothing but the changed fact tells them apart.

    Args:
        sae: the dictionary.
        cache: has the pictures.
        backbone: the model that made the cache.
        changed: what is asked; one or more.
        means: a side's mean code, of pairs that are not in `cache`; None if there are none.
        pooling: how token codes become an item's.
        batch_size: questions at a time, which bounds memory.
        progress: receives (questions asked, questions in all).

    Returns:
        By what is compared, as in the part `retrieval` (`codes`, `centred` if there are means, `backbone`): `all`, the
        share of right answers, and `by_kind` that of each kind of fact.

    Raises:
        CacheError: the cache cannot be read.
    """
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(changed), batch_size):
        asked = changed[start : start + batch_size]
        images = _images(sae, cache, [one.pair for one in asked], pooling)
        own = _texts(sae, backbone, [one.caption for one in asked], pooling)
        other = _texts(sae, backbone, [one.text for one in asked], pooling)
        right["codes"] += prefers(images.codes, own.codes, other.codes).tolist()
        if means is not None:
            vision, text = (means[side] for side in SIDES)
            centred = prefers(images.codes - vision, own.codes - text, other.codes - text)
            right["centred"] += centred.tolist()
        right["backbone"] += prefers(images.embeddings, own.embeddings, other.embeddings).tolist()
        if progress:
            progress(start + len(asked), len(changed))
    kinds = np.array([one.kind for one in changed])
    return {compared: _shares(np.array(answers), kinds) for compared, answers in right.items()}


def prefers(
    images: Float[np.ndarray, "row channel"],
    captions: Float[np.ndarray, "row channel"],
    others: Float[np.ndarray, "row channel"],
) -> Bool[np.ndarray, "row"]:
    """Tell which images have a larger cosine with their caption than with the other one; a tie is no preference."""
    image, caption, other = (unit_length(rows.astype(np.float64)) for rows in (images, captions, others))
    return np.asarray((image * (caption - other)).sum(axis=1) > _ROUNDING)


def _shares(right: Bool[np.ndarray, "row"], kinds: np.ndarray) -> dict[str, Any]:
    by_kind = {str(kind): float(right[kinds == kind].mean()) for kind in np.unique(kinds)}
    return {"all": float(right.mean()), "by_kind": by_kind}


def _images(
    sae: SparseAutoencoder, cache: ActivationCache, numbers: Sequence[int], pooling: Pooling
) -> _Vectors:
    batch = cache.read_pairs(np.array(numbers))
    pairs = sae.reader.pairs(batch).to(next(sae.parameters()).device)
    embeddings = batch.vision_pooled.to(pairs.vision.device)
    codes = image_codes(sae, pairs.rows("vision"), pairs.offsets("vision"), embeddings, pooling)
    return _Vectors(codes.cpu().numpy(), embeddings.float().cpu().numpy())


def _texts(sae: SparseAutoencoder, backbone: "Backbone", texts: Sequence[str], pooling: Pooling) -> _Vectors:
    token_ids, valid = backbone.tokenize(list(texts))
    activations = backbone.encode_texts(token_ids)
    device = next(sae.parameters()).device
    rows, offsets = (part.to(device) for part in sae.reader.rows("text", activations, valid))
    codes = caption_codes(sae, rows, offsets, pooling)
    return _Vectors(codes.cpu().numpy(), activations.pooled.float().cpu().numpy())
