"""Are the names right? Names against the truth, where the dataset knows its concepts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int

from cache import ActivationCache
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.item_codes import pooled_codes
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side


class TrueConcepts(NamedTuple):
    """What one named latent stands for, as ground-truth concepts.

    Attributes:
        name: what its name says; None for a term whose concept the list does not give.
        images: what it tells apart best among images; None where it tells none from another.
        captions: likewise among captions.
    """

    name: str | None
    images: str | None
    captions: str | None


def true_concepts(
    latents: pa.Table,
    sae: SparseAutoencoder,
    cache: ActivationCache,
    truth: Mapping[str, str],
    batch_pairs: int = 64,
) -> dict[int, TrueConcepts] | None:
    """Hold the name of every named latent against the concept that it really separates.

    A latent's true concept is the one that its peak activation in an image tells apart best (`best_told_apart`),
    among the concepts that some term of the list names (so that every latent could have been named right).
    A name comes from the text side. So the same is asked of captions.

    Args:
        latents: The table that `interpret` made.
        sae: The dictionary it describes.
        cache: A split with ground truth; every pair of it is read once.
        truth: Ground-truth concept by term (`ConceptList.truth`); several terms are synonyms of one concept.
        batch_pairs: Pairs in memory at once.

    Returns:
        By latent. None if the split has no ground truth, or none that the list names and that some images show and
        others do not.
    """
    concepts = sorted(set(truth.values()) & _concepts_told(cache))
    if not concepts:
        return None
    named = latents.filter(latents["named"])
    numbers = named["latent"].to_pylist()
    told = _told_apart(sae, cache, concepts, _item_columns(sae, numbers), batch_pairs)
    given = [truth.get(name) for name in named["name"].to_pylist()]
    found = map(TrueConcepts, given, told["vision"], told["text"])
    return dict(zip(numbers, found, strict=True))


def score_table(latents: pa.Table, found: Mapping[int, TrueConcepts]) -> dict[str, object]:
    """How many names of the table that `interpret` made are right: those of shared latents, as `score_names`.

    With image-level latents, `image_level` is the same of those, and `together` has `named`, `correct` and
    `distinct_concepts` of both.
    """
    names = dict(zip(latents["latent"].to_pylist(), latents["name"].to_pylist(), strict=True))
    whole = set(latents.filter(latents["confidence"].is_valid())["latent"].to_pylist())
    placed, of_images = (
        {n: of for n, of in found.items() if (n in whole) == level} for level in (False, True)
    )
    score = score_names(placed, names)
    if whole:
        both = score_names(found, names)
        score["image_level"] = score_names(of_images, names)
        score["together"] = {key: both[key] for key in ("named", "correct", "distinct_concepts")}
    return score


def score_names(found: Mapping[int, TrueConcepts], names: Mapping[int, str | None]) -> dict[str, object]:
    """How many names are right about images, and about captions.

    Args:
        found: what each named latent stands for.
        names: the name of each of these latents.

    Returns:
        `named` and `correct`, their ratio `share` (absent when nothing is named), `distinct_concepts` and
        `distinct_names`, how many different concepts and words the correct ones are (several latents may have one
        name, and "boat" and "boats" name one concept), `correct_in_captions`,
        `same_on_both_sides`, which bounds how many names can be right at all, and `kinds`: `named` and `correct` by
        kind of the true concept, "none" for latents that tell no image from another.
    """
    kinds: dict[str, dict[str, int]] = {}
    for name, images, _ in found.values():
        count = kinds.setdefault(images.partition(":")[0] if images else "none", {"named": 0, "correct": 0})
        count["named"] += 1
        count["correct"] += _equal(name, images)
    right = [latent for latent, (name, images, _) in found.items() if _equal(name, images)]
    correct = len(right)
    result: dict[str, object] = {
        "named": len(found),
        "correct": correct,
        "distinct_concepts": len({found[latent].name for latent in right}),
        "distinct_names": len({names[latent] for latent in right}),
        "correct_in_captions": sum(_equal(name, captions) for name, _, captions in found.values()),
        "same_on_both_sides": sum(_equal(images, captions) for _, images, captions in found.values()),
        "kinds": kinds,
    }
    return result | ({"share": correct / len(found)} if found else {})


def best_told_apart(
    scores: Float[np.ndarray, "item latent"], labels: Bool[np.ndarray, "item concept"]
) -> Int[np.ndarray, "latent"]:
    """The concept that each latent singles out most: average precision above chance, as a share of the possible.

    A random ranking reaches a concept's prevalence, so the plain average precision would choose whatever is most
    common ("one" object) for every latent that means something rarer. A concept of all items, or of none, is never
    chosen. A latent that tells no item from another, such as one that never fires, tells no concept apart: -1.
    """
    prevalence = labels.mean(axis=0)
    above_chance = average_precision(scores, labels) - prevalence
    lift = np.full_like(above_chance, -np.inf)
    np.divide(above_chance, 1 - prevalence, out=lift, where=(prevalence > 0) & (prevalence < 1))
    tells = (scores.max(axis=0) > scores.min(axis=0)) & np.isfinite(lift.max(axis=1))
    best: Int[np.ndarray, "latent"] = np.where(tells, lift.argmax(axis=1), -1)
    return best


def _equal(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


def _concepts_told(cache: ActivationCache) -> set[str]:
    """Every ground-truth concept that images of some pairs show and of others do not; empty without ground truth."""
    used = cache.read_pair_samples(["image_concepts"])["image_concepts"].to_pylist()
    shown = Counter(concept for concepts in used for concept in set(concepts or ()))
    return {concept for concept, images in shown.items() if images < len(used)}


def _told_apart(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    concepts: list[str],
    columns: Int[np.ndarray, "latent"],
    batch_pairs: int,
) -> dict[Side, list[str | None]]:
    """The concept that each latent tells apart best among images, and among captions; None where none."""
    if not len(columns):
        return {side: [] for side in SIDES}
    scores = _peaks(sae, cache, columns, batch_pairs)
    shown: dict[Side, str] = {"vision": "image_concepts", "text": "caption_concepts"}
    best = {
        side: best_told_apart(np.concatenate(scores[side]), _labels(cache, column, concepts))
        for side, column in shown.items()
    }
    return {
        side: [concepts[concept] if concept >= 0 else None for concept in of_side]
        for side, of_side in best.items()
    }


@torch.inference_mode()
def _peaks(
    sae: SparseAutoencoder, cache: ActivationCache, columns: Int[np.ndarray, "latent"], batch_pairs: int
) -> dict[Side, list[Float[np.ndarray, "pair latent"]]]:
    """The peak of latents, by their column among those of items, in the item of every pair, batch after batch."""
    chosen = torch.from_numpy(columns)
    found: dict[Side, list[Float[np.ndarray, "pair latent"]]] = {side: [] for side in SIDES}
    for batch in cache.iterate(batch_pairs):
        for side, codes in pooled_codes(sae, batch, "max").items():
            found[side].append(codes.cpu()[:, chosen].numpy())
    return found


def _item_columns(sae: SparseAutoencoder, latents: Sequence[int]) -> Int[np.ndarray, "latent"]:
    """Where the codes of whole items have latents of `latents.parquet`: image-level ones follow the shared ones."""
    of_images = [] if sae.image_level is None else sae.image_level.latents.tolist()
    column = {latent: sae.shared_width + place for place, latent in enumerate(of_images)}
    return np.array([column.get(latent, latent) for latent in latents], dtype=np.int64)


def _labels(cache: ActivationCache, column: str, concepts: list[str]) -> Bool[np.ndarray, "pair concept"]:
    """Which of the concepts the image (or caption) of every pair shows."""
    shown = cache.read_pair_samples([column])[column].to_pylist()
    labels = [[concept in (of_pair or ()) for concept in concepts] for of_pair in shown]
    return np.array(labels, dtype=bool)
