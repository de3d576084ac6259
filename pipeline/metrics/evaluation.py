"""Everything metrics.json holds about one trained dictionary, in one pass over a cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from cache import ActivationCache
from pipeline.datasets.geometry import ResizeMode
from pipeline.metrics.alignment import AlignmentMeter
from pipeline.metrics.concepts import ConceptMeter
from pipeline.metrics.consistency import ConsistencyMeter
from pipeline.metrics.degeneracy import DegeneracyMeter
from pipeline.metrics.encoding import EncodedBatch, encode_batch
from pipeline.metrics.grounding import GroundingMeter
from pipeline.metrics.items import read_items
from pipeline.metrics.judge import CachedJudge
from pipeline.metrics.not_defined import NotDefined, tell_apart
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.prompts import PromptEncoder
from pipeline.metrics.reconstruction import ReconstructionMeter
from pipeline.not_finite import refuse_weights_not_finite
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


_REMEDY = "evaluate on a cache of the backbone it was trained with"
_NO_PLACES = NotDefined("the dictionary reads one embedding of a whole image, which has no place in it")


class Meter(Protocol):
    """A part of metrics.json that collects what it needs batch by batch."""

    def update(self, encoded: EncodedBatch) -> None:
        """Add a batch."""

    def result(self) -> dict[str, Any] | NotDefined:
        """The part, as JSON values; a figure without a value is `NotDefined`, never NaN."""


@torch.inference_mode()
def evaluate(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone | None",
    options: EvaluateOptions,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure `sae` on every pair of `cache`: the value of metrics.json.

    Deterministic for given inputs on one machine. Memory is bounded by a batch and by the options, except for a
    pooled code per item and the sparse patch codes where samples state their true concepts.

    Args:
        sae: A trained dictionary, on its device; set to evaluation mode here.
        cache: The split to measure on.
        backbone: The model that made the cache; without it only the `uniform` heat map is scored.
        options: See EvaluateOptions.
        progress: Receives (pairs done, pairs in all) after every batch.

    Returns:
        `reconstruction`, `grounding`, `degeneracy`, `concepts`, `alignment`, `consistency` and `counts`. Every figure
        is a finite number. What an architecture does not have is absent: `private`, `full_joint` and `leak` without
        private latents. What this split or the kind of inputs leaves without a value (`grounding` without boxes,
        `concepts` without ground truth, R2 of a side that does not vary) is absent too, and `not_defined` says why.

    Raises:
        RunError: the dictionary was trained on activations of another width; a weight, an activation or a code is not
            finite; or the judge lacks a pair.
        CacheError: the judge's cache cannot be read.
        DatasetError: a segmentation in the samples is malformed.
    """
    refuse_weights_not_finite(sae)
    widths = sae.vision_channels, sae.text_channels
    sae.reader.refuse_other_widths(widths, cache.manifest, str(cache), _REMEDY)
    sae.eval()
    device = next(sae.parameters()).device
    grounding = _grounding_meter(sae, cache, backbone, options) if sae.reader.knows_places else None
    meters = _other_meters(sae, cache, options) | ({"grounding": grounding} if grounding else {})
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        encoded = encode_batch(sae, batch, device)
        for meter in meters.values():
            meter.update(encoded)
        done += len(batch.pair)
        if progress:
            progress(done, cache.pairs)
    results: dict[str, Any] = {name: meter.result() for name, meter in meters.items()}
    results["counts"] = _counts(cache) | (grounding.counts() if grounding else {})
    figures = tell_apart(results | ({} if grounding else {"grounding": _NO_PLACES}))
    return figures.values | ({"not_defined": figures.reasons} if figures.reasons else {})


def _grounding_meter(
    sae: SparseAutoencoder, cache: ActivationCache, backbone: "Backbone | None", options: EvaluateOptions
) -> GroundingMeter:
    prompts = PromptEncoder(sae, backbone, options.prompt, options.batch_pairs) if backbone else None
    return GroundingMeter(prompts, cache.samples, *_patch_layout(cache))


def _other_meters(
    sae: SparseAutoencoder, cache: ActivationCache, options: EvaluateOptions
) -> dict[str, Meter]:
    grid, resize_mode = _patch_layout(cache)
    items, latents, pooling = read_items(cache), sae.shared_width, options.concept_pooling
    judge = CachedJudge(_judge_cache(cache, options), cache, options.batch_pairs)
    return {
        "reconstruction": ReconstructionMeter(sae, sae.reader.centres(cache), cache.manifest.storage_dtype),
        "degeneracy": DegeneracyMeter(
            cache.pair_images, latents, sae.private_width, options.degeneracy_pooling
        ),
        "concepts": ConceptMeter(
            cache.samples,
            grid if sae.reader.knows_places else None,
            resize_mode,
            pooling,
            options.least_positives,
            options.seed,
        ),
        "alignment": AlignmentMeter(
            items, latents, judge, options.alignment_latents, options.alignment_items, options.seed, pooling
        ),
        "consistency": ConsistencyMeter(items, latents, options.consistency_pairs, options.seed, pooling),
    }


def _judge_cache(cache: ActivationCache, options: EvaluateOptions) -> ActivationCache:
    return ActivationCache.open(options.judge) if options.judge else cache


def _patch_layout(cache: ActivationCache) -> tuple[tuple[int, int], ResizeMode]:
    """The patch grid, and how the images were fitted to it."""
    rows, columns = cache.manifest.grid
    identity: Any = cache.manifest.backbone
    return (rows, columns), identity["preprocessing"]["resize_mode"]


def _counts(cache: ActivationCache) -> dict[str, int]:
    images = len(set(cache.pair_images.tolist()))
    return {
        "pairs": cache.pairs,
        "images": images,
        "patches": images * cache.manifest.patches,
        "tokens": cache.text_tokens,
        "skipped": cache.skipped,
    }
