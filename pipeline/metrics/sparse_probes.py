"""Sparse probes: how much of a concept do a few shared latents say, and is it said by the same ones on the other side?

As in SAEBench (arXiv 2503.09532), with a second side: a probe that was fitted on captions is scored on pictures,
through the latents of the same numbers, and the reverse.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cache import ActivationCache, PairBatch
from pipeline.metrics.average_precision import average_precision
from pipeline.metrics.item_codes import pooled_codes
from pipeline.metrics.logistic_probe import LogisticProbe, fit_probe
from pipeline.metrics.not_defined import NotDefined
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.told_items import ToldItems, read_told_items
from pipeline.metrics.truth import NOT_TOLD, asked_concepts, label_matrix, none_asked
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.sides import SIDES, Side, other_side

SIZES = (1, 2, 5)
"""Latents that a sparse probe of a concept reads."""


class _Codes(NamedTuple):
    """A side's codes, standardised by its training items, so that a probe of one side reads the other's."""

    training: Float[np.ndarray, "training_item latent"]
    validation: Float[np.ndarray, "validation_item latent"]


@torch.inference_mode()
def sparse_probes(
    sae: SparseAutoencoder,
    training: ActivationCache,
    validation: ActivationCache,
    options: EvaluateOptions,
    progress: Advance | None = None,
) -> dict[str, Any] | NotDefined:
    """Fit logistic probes of the concepts on pooled shared codes of training pairs, and score them on validation pairs.

    A sparse probe reads, for each concept, the latents whose mean code differs most between items that have it and
    items that lack it. Codes are standardised by the mean and deviation of their side's training items.

    Args:
        sae: The dictionary, on its device.
        training: What probes are fitted on.
        validation: What they are scored on; its concepts are asked.
        options: See EvaluateOptions: pooling, least items of a concept, pairs at once.
        progress: Receives (pairs done, pairs in all) after every batch of the training pairs.

    Returns:
        By number of latents (`k1`, `k2`, `k5`) and for all of them (`dense`) the mean average precision over concepts:
        of a side's own probe (`vision`, `text`) and of the other side's (`text_to_vision`: fitted on captions, scored
        on pictures; `vision_to_text`). `chance` is the mean prevalence, which a probe without information has. Not
        defined where a cache does not state its concepts.

    Raises:
        CacheError: a cache cannot be read.
    """

    def codes_of(batch: PairBatch) -> dict[Side, Tensor]:
        return pooled_codes(sae, batch, options.concept_pooling)

    fitted = read_told_items(training, options.batch_pairs, codes_of, progress)
    scored = read_told_items(validation, options.batch_pairs, codes_of)
    if not all(items.concepts for sides in (fitted, scored) for items in sides.values()):
        return NOT_TOLD
    asked = asked_concepts(scored["vision"].concepts, scored["text"].concepts, options.least_positives)
    if not asked.names:
        return none_asked(options.least_positives)
    codes = {side: _standardised(fitted[side], scored[side]) for side in SIDES}
    known = {side: label_matrix(fitted[side].concepts, asked.names) for side in SIDES}
    truth: dict[Side, np.ndarray] = {"vision": asked.vision, "text": asked.text}
    found: dict[str, Any] = {f"k{size}": _scores(codes, known, truth, size) for size in SIZES}
    chance = {side: float(truth[side].mean()) for side in SIDES}
    return found | {"dense": _scores(codes, known, truth, None), "chance": chance}


def fit_sparse_probe(
    codes: Float[np.ndarray, "item latent"], labels: Bool[np.ndarray, "item concept"], size: int
) -> LogisticProbe:
    """Fit a probe that reads, for each concept, the `size` latents whose mean differs most; the rest weigh nothing."""
    held = labels.sum(axis=0).clip(1)[:, None]
    lacking = (~labels).sum(axis=0).clip(1)[:, None]
    difference = np.abs(labels.T @ codes / held - (~labels).T @ codes / lacking)
    chosen = np.argsort(-difference, axis=1, kind="stable")[:, :size]
    weights, bias = np.zeros((codes.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    for concept, latents in enumerate(chosen):
        probe = fit_probe(codes[:, latents], labels[:, [concept]])
        weights[latents, concept], bias[concept] = probe.weights[:, 0], probe.bias[0]
    return LogisticProbe(weights, bias)


def _standardised(fitted: ToldItems, scored: ToldItems) -> _Codes:
    mean = fitted.features.mean(axis=0, dtype=np.float64)
    deviation = fitted.features.std(axis=0, dtype=np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    return _Codes((fitted.features - mean) * scale, (scored.features - mean) * scale)


def _scores(
    codes: Mapping[Side, _Codes],
    known: Mapping[Side, Bool[np.ndarray, "item concept"]],
    truth: Mapping[Side, Bool[np.ndarray, "item concept"]],
    size: int | None,
) -> dict[str, float]:
    """Mean average precision of the probes of each side on itself and on the other side."""
    found: dict[str, float] = {}
    for side in SIDES:
        items, labels = codes[side].training, known[side]
        probe = fit_probe(items, labels) if size is None else fit_sparse_probe(items, labels, size)
        other = other_side(side)
        for name, scored in ((side, side), (f"{side}_to_{other}", other)):
            every = average_precision(probe.logits(codes[scored].validation), truth[scored])
            found[name] = float(np.diagonal(every).mean())
    return found
