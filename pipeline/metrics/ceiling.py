"""The ceiling of concept recovery: how well supervised probes of the backbone's own activations find each concept."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from cache import ActivationCache, PairBatch
from pipeline.metrics.concept_scores import score_concepts
from pipeline.metrics.logistic_probe import fit_probe
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.told_items import read_told_items
from pipeline.metrics.truth import NOT_TOLD, asked_concepts, label_matrix, none_asked
from pipeline.sae.sides import Side

ItemFeature = Literal["mean", "max", "pooled"]
"""What a probe reads of an item: mean or maximum of its tokens per channel, or the backbone's pooled embedding."""

ITEM_FEATURES: tuple[ItemFeature, ...] = ("mean", "max", "pooled")


def supervised_ceiling(
    training: ActivationCache,
    validation: ActivationCache,
    features: Sequence[ItemFeature] = ITEM_FEATURES,
    least: int = 10,
    seed: int = 0,
    batch_pairs: int = 64,
) -> dict[str, Any] | NotDefined:
    """Score linear probes as if they were a dictionary with one shared latent per concept, its probe.

    A probe is a logistic regression per concept and side (`fit_probe`), fitted on the training pairs. It fires where it
    finds its concept more likely than not.

    Args:
        training: What the probes are fitted on; it states its true concepts.
        validation: What they are scored on; likewise.
        features: What the probes read, side by side.
        least: Items with a concept, and without it, that each side needs for the concept to be asked.
        seed: Shuffles the labels for the chance level.
        batch_pairs: Pairs in memory at once, beside the features of all items.

    Returns:
        The part `concepts` of metrics.json without `patch_ap`, as `ConceptMeter.result` gives it. Not defined where one
        of the caches does not state its concepts.

    Raises:
        CacheError: a cache cannot be read.
    """
    fitted, scored = (
        read_told_items(cache, batch_pairs, partial(_both_sides, features=features))
        for cache in (training, validation)
    )
    if not all(items.concepts for sides in (fitted, scored) for items in sides.values()):
        return NOT_TOLD
    asked = asked_concepts(scored["vision"].concepts, scored["text"].concepts, least)
    if not asked.names:
        return asked.numbers | {"recovery": none_asked(least)}
    logits = {
        side: fit_probe(items.features, label_matrix(items.concepts, asked.names)).logits(
            scored[side].features
        )
        for side, items in fitted.items()
    }
    return score_concepts(asked, logits, seed).figures


def _both_sides(batch: PairBatch, features: Sequence[ItemFeature]) -> dict[Side, Tensor]:
    images = torch.arange(len(batch.pair) + 1) * batch.vision_tokens.shape[1]
    return {
        "vision": _features(batch.vision_tokens.flatten(0, 1), images, batch.vision_pooled, features),
        "text": _features(batch.text_tokens, batch.text_offsets, batch.text_pooled, features),
    }


def _features(
    tokens: Float[Tensor, "token channel"],
    offsets: Int64[Tensor, " item_plus_1"],
    pooled: Float[Tensor, "item embedding"],
    features: Sequence[ItemFeature],
) -> Float[Tensor, "item feature"]:
    made = {
        "mean": lambda: torch.segment_reduce(tokens, "mean", offsets=offsets, axis=0),
        "max": lambda: torch.segment_reduce(tokens, "max", offsets=offsets, axis=0),
        "pooled": lambda: pooled,
    }
    return torch.cat([made[feature]() for feature in features], dim=1)
