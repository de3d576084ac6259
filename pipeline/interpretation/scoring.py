"""Are the names right? Names against the truth, where the dataset knows its concepts."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from cache import ActivationCache
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.pooling import pool
from pipeline.sae.base import SparseAutoencoder


def score_names(
    latents: pa.Table,
    sae: SparseAutoencoder,
    cache: ActivationCache,
    truth: Mapping[str, str],
    batch_pairs: int = 64,
) -> dict[str, object] | None:
    """Compare the name of every named latent with the concept that it really separates.

    A latent's true concept is the one that its peak activation in an image tells apart best (`best_told_apart`),
    among the concepts that some term of the list names (so that every latent could have been named right).

    Args:
        latents: The table that `interpret` made.
        sae: The dictionary it describes.
        cache: A split with ground truth; every image of it is read once.
        truth: Ground-truth concept by term (`ConceptList.truth`); several terms are synonyms of one concept.
        batch_pairs: Pairs in memory at once.

    Returns:
        `{"named", "correct", "share", "kinds": {kind: {"named", "correct"}}}`, kinds being those of the true concepts;
        `share` is absent when nothing is named. None if the split has no ground truth or the list names none of it.
    """
    concepts = sorted(set(truth.values()) & _concepts_shown(cache))
    if not concepts:
        return None
    scores, labels = _scores_and_labels(sae, cache, concepts, batch_pairs)
    named = latents.filter(latents["named"])
    columns = named["latent"].to_numpy()
    best: list[int] = best_told_apart(scores[:, columns], labels).tolist() if len(columns) else []
    kinds: dict[str, dict[str, int]] = {}
    for name, concept in zip(named["name"].to_pylist(), best, strict=True):
        count = kinds.setdefault(concepts[concept].partition(":")[0], {"named": 0, "correct": 0})
        count["named"] += 1
        count["correct"] += truth.get(name) == concepts[concept]
    correct = sum(count["correct"] for count in kinds.values())
    result: dict[str, object] = {"named": len(columns), "correct": correct, "kinds": kinds}
    return result | ({"share": correct / len(columns)} if len(columns) else {})


def best_told_apart(
    scores: Float[np.ndarray, "item latent"], labels: Bool[np.ndarray, "item concept"]
) -> Int[np.ndarray, "latent"]:
    """The concept that each latent singles out most: average precision above chance, as a share of the possible.

    A random ranking reaches a concept's prevalence, so the plain average precision would choose whatever is most
    common ("one" object) for every latent that means something rarer. A concept of all items is never chosen.
    """
    prevalence = labels.mean(axis=0)
    above_chance = average_precision(scores, labels) - prevalence
    lift = np.full_like(above_chance, -np.inf)
    np.divide(above_chance, 1 - prevalence, out=lift, where=prevalence < 1)
    best: Int[np.ndarray, "latent"] = np.nanargmax(lift, axis=1)
    return best


def _concepts_shown(cache: ActivationCache) -> set[str]:
    """Every ground-truth concept that an image of a pair shows; empty without ground truth."""
    used = cache.samples.filter(cache.samples["pair"].is_valid())["image_concepts"]
    return {concept for concepts in used.to_pylist() for concept in concepts or ()}


@torch.inference_mode()
def _scores_and_labels(
    sae: SparseAutoencoder, cache: ActivationCache, concepts: list[str], batch_pairs: int
) -> tuple[Float[np.ndarray, "pair latent"], Bool[np.ndarray, "pair concept"]]:
    """Peak of every latent in the image of every pair, and which of the concepts that image shows."""
    samples = cache.samples
    shown = dict(zip(samples["pair"].to_pylist(), samples["image_concepts"].to_pylist(), strict=True))
    device = next(sae.parameters()).device
    scores = []
    for batch in cache.iterate(batch_pairs):
        pairs, patches, _ = batch.vision_tokens.shape
        codes = sae.encode("vision", batch.vision_tokens.flatten(0, 1).to(device), "shared")
        offsets = torch.arange(pairs + 1, device=device) * patches
        scores.append(pool(codes, offsets, sae.shared_width, "max").cpu().numpy())
    labels = [[concept in (shown[pair] or ()) for concept in concepts] for pair in range(cache.pairs)]
    return np.concatenate(scores), np.array(labels, dtype=bool)
