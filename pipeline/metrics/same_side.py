"""Same-side pairs: how far a match of latents gets where there is no other modality to match.

Two dictionaries of one recipe, trained from different seeds, read the same pictures (or the same captions); their
latents are matched as those of two sides are. What is missing then is lost by training and by matching, and not between
pictures and captions: the ceiling of every dictionary whose sides are matched.
"""

from typing import Any

import numpy as np
import torch

from cache import ActivationCache
from pipeline.matching.assignment import Matching, assign
from pipeline.matching.coactivation import CoActivation
from pipeline.matching.match import refuse_too_few_pairs
from pipeline.metrics.concept_scores import score_concepts
from pipeline.metrics.item_codes import pooled_codes
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.told_items import ToldItems, read_told_items
from pipeline.metrics.truth import NOT_TOLD, AskedConcepts, asked_concepts, none_asked
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side


@torch.inference_mode()
def same_side_scores(
    saes: tuple[SparseAutoencoder, SparseAutoencoder],
    training: ActivationCache,
    validation: ActivationCache,
    options: EvaluateOptions,
    progress: Advance | None = None,
) -> dict[Side, dict[str, Any]] | NotDefined:
    """Score two dictionaries of one side as if they were the two sides of one.

    Args:
        saes: Two dictionaries with as many shared latents, on one device.
        training: The pairs that their latents are matched by, on each side by itself.
        validation: What they are scored on; its concepts are asked.
        options: See EvaluateOptions: pooling, least items of a concept, seed, pairs at once.
        progress: Receives (pairs done, pairs in all) after every batch of the training pairs.

    Returns:
        By side the part `concepts` of metrics.json without `patch_ap`, in which `vision` is the first dictionary and
        `text` the second, whatever the side. Not defined where the validation cache does not state its concepts.

    Raises:
        RunError: there are fewer training pairs than latents.
        CacheError: a cache cannot be read.
    """
    scored = [
        read_told_items(
            validation,
            options.batch_pairs,
            lambda batch, sae=sae: pooled_codes(sae, batch, options.concept_pooling),  # type: ignore[misc]
        )
        for sae in saes
    ]
    first = scored[0]
    if not all(items.concepts for items in first.values()):
        return NOT_TOLD
    asked = asked_concepts(first["vision"].concepts, first["text"].concepts, options.least_positives)
    if not asked.names:
        return none_asked(options.least_positives)
    matchings = _matchings(saes, training, options, progress)
    return {
        side: _scores(asked, side, [items[side] for items in scored], matchings[side], options.seed)
        for side in SIDES
    }


def _matchings(
    saes: tuple[SparseAutoencoder, SparseAutoencoder],
    training: ActivationCache,
    options: EvaluateOptions,
    progress: Advance | None,
) -> dict[Side, Matching]:
    """Match the latents of the two dictionaries by how they fire together on each side of the training pairs."""
    widths, device = [sae.item_width for sae in saes], next(saes[0].parameters()).device
    refuse_too_few_pairs(training, max(widths))
    moments = {side: CoActivation(widths[0], widths[1], device) for side in SIDES}
    done = 0
    for batch in training.iterate(options.batch_pairs):
        one, other = (pooled_codes(sae, batch, options.concept_pooling) for sae in saes)
        for side in SIDES:
            moments[side].update(one[side], other[side])
        done += len(batch.pair)
        if progress:
            progress(done, training.pairs)
    return {side: assign(found.correlation(), *found.fired()) for side, found in moments.items()}


def _scores(
    asked: AskedConcepts, side: Side, items: list[ToldItems], matching: Matching, seed: int
) -> dict[str, Any]:
    labels: np.ndarray = getattr(asked, side)
    codes: dict[Side, np.ndarray] = {
        "vision": items[0].features[:, matching.vision],
        "text": items[1].features[:, matching.text],
    }
    return score_concepts(asked._replace(vision=labels, text=labels), codes, seed).figures
