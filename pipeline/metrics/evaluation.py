"""Everything metrics.json holds about one trained dictionary, in one pass over a cache."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from cache import ActivationCache
from pipeline.datasets.geometry import resize_mode_of
from pipeline.metrics.alignment import AlignmentMeter
from pipeline.metrics.concept_directions import ConceptDirectionMeter
from pipeline.metrics.concepts import ConceptMeter
from pipeline.metrics.consistency import ConsistencyMeter
from pipeline.metrics.degeneracy import DegeneracyMeter
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.grounding import GroundingMeter
from pipeline.metrics.mean_codes import mean_codes
from pipeline.metrics.meter import Measured, Meter
from pipeline.metrics.modality import ModalityMeter
from pipeline.metrics.monosemanticity import MonosemanticityMeter, TrueConcepts
from pipeline.metrics.not_defined import NotDefined, tell_apart
from pipeline.metrics.options import EvaluateOptions
from pipeline.metrics.prompts import PromptEncoder
from pipeline.metrics.reconstruction import ReconstructionMeter
from pipeline.metrics.retrieval import RetrievalMeter
from pipeline.metrics.truth import NOT_TOLD, asked_concepts, none_asked
from pipeline.not_finite import refuse_weights_not_finite
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


_REMEDY = "evaluate on a cache of the backbone it was trained with"


def _reconstruction(of: Measured) -> Meter:
    centres = of.sae.reader.centres(of.cache)
    return ReconstructionMeter(of.sae, centres, of.cache.manifest.storage_dtype)


def _degeneracy(of: Measured) -> Meter:
    shared, private, pooling = of.sae.shared_width, of.sae.private_width, of.options.degeneracy_pooling
    return DegeneracyMeter(of.cache.pair_images, shared, private, pooling, of.sae.shared_budget)


def _concepts(of: Measured) -> Meter:
    options, grid = of.options, of.cache.manifest.grid if of.sae.reader.knows_places else None
    resize_mode = resize_mode_of(of.cache)
    return ConceptMeter(
        of.truth, grid, resize_mode, options.concept_pooling, options.least_positives, options.seed
    )


def _concept_directions(of: Measured) -> Meter | NotDefined:
    options, (images, captions) = of.options, of.truth
    if not (images and captions):
        return NOT_TOLD
    shown = [image["image_concepts"] for image in images.values()]
    asked = asked_concepts(shown, list(captions.values()), options.least_positives)
    if not asked.names:
        return none_asked(options.least_positives)
    return ConceptDirectionMeter(of.truth, asked, of.sae, options.seed)


def _alignment(of: Measured) -> Meter:
    options = of.options
    return AlignmentMeter(
        of.items,
        of.sae.item_width,
        of.judge,
        options.alignment_latents,
        options.alignment_items,
        options.seed,
        options.concept_pooling,
    )


def _consistency(of: Measured) -> Meter:
    options = of.options
    return ConsistencyMeter(
        of.items, of.sae.item_width, options.consistency_pairs, options.seed, options.concept_pooling
    )


def _retrieval(of: Measured) -> Meter:
    options, pooling = of.options, of.options.concept_pooling
    means = (
        mean_codes(of.sae, of.training, options.centring_pairs, options.batch_pairs, pooling)
        if of.training
        else None
    )
    return RetrievalMeter(of.items, pooling, means)


def _modality(of: Measured) -> Meter:
    return ModalityMeter(of.items, of.sae.item_width, of.options.concept_pooling)


def _monosemanticity(of: Measured) -> Meter:
    truth, pooling = TrueConcepts(of.cache), of.options.concept_pooling
    return MonosemanticityMeter(of.items, of.sae.item_width, truth, of.judge, pooling)


def _grounding(of: Measured) -> Meter | NotDefined:
    if not of.sae.reader.knows_places:
        return NotDefined("the dictionary reads one embedding of a whole image, which has no place in it")
    prompts = (
        PromptEncoder(of.sae, of.backbone, of.options.prompt, of.options.batch_pairs) if of.backbone else None
    )
    return GroundingMeter(prompts, of.cache.samples, of.cache.manifest.grid, resize_mode_of(of.cache))


METERS: Mapping[str, Callable[[Measured], Meter | NotDefined]] = {
    "reconstruction": _reconstruction,
    "degeneracy": _degeneracy,
    "concepts": _concepts,
    "concept_directions": _concept_directions,
    "alignment": _alignment,
    "consistency": _consistency,
    "retrieval": _retrieval,
    "modality": _modality,
    "monosemanticity": _monosemanticity,
    "grounding": _grounding,
}
"""By part of metrics.json what measures it, or why nothing can; `pipeline.results.catalogue` describes the figures."""


@torch.inference_mode()
def evaluate(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone | None",
    options: EvaluateOptions,
    progress: Advance | None = None,
    training: ActivationCache | None = None,
) -> dict[str, Any]:
    """Measure `sae` on every pair of `cache`: the value of metrics.json.

    Deterministic for given inputs on one machine. Memory is bounded by a batch and by the options, except for a
    pooled code and embedding per item, and the sparse patch codes where samples state their true concepts.

    Args:
        sae: A trained dictionary, on its device; set to evaluation mode here.
        cache: The split to measure on.
        backbone: The model that made the cache; without it only the `uniform` heat map is scored.
        options: See EvaluateOptions.
        progress: Receives (pairs done, pairs in all) after every batch.
        training: The split that `sae` was trained on; without it no retrieval by centred codes is scored.

    Returns:
        `reconstruction`, `grounding`, `degeneracy`, `concepts`, `concept_directions`, `alignment`, `consistency`,
        `retrieval`, `modality`, `monosemanticity` and `counts`. Every figure is a finite number. What an architecture
        does not have is absent: `private`, `full_joint` and `leak` without private latents. What this split or the kind
        of inputs leaves without a value (`grounding` without boxes, `concepts` without ground truth, R2 of a side that
        does not vary) is absent too, and `not_defined` says why.

    Raises:
        RunError: the dictionary was trained on activations of another width; a weight, an activation or a code is not
            finite; or the judge lacks a pair.
        CacheError: the judge's cache, or that of the training, cannot be read.
        DatasetError: a segmentation in the samples is malformed.
    """
    refuse_weights_not_finite(sae)
    widths = sae.vision_channels, sae.text_channels
    sae.reader.refuse_other_widths(widths, cache.manifest, str(cache), _REMEDY)
    sae.eval()
    device = next(sae.parameters()).device
    measured = Measured(sae, cache, backbone, options, training)
    made = {part: make(measured) for part, make in METERS.items()}
    meters = {part: meter for part, meter in made.items() if isinstance(meter, Meter)}
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        encoded = encode_batch(sae, batch, device)
        for meter in meters.values():
            meter.update(encoded)
        done += len(batch.pair)
        if progress:
            progress(done, cache.pairs)
    results: dict[str, Any] = {
        part: meter.result() if isinstance(meter, Meter) else meter for part, meter in made.items()
    }
    results["counts"] = _counts(cache) | {
        what: count for meter in meters.values() for what, count in meter.counts().items()
    }
    figures = tell_apart(results)
    return figures.values | ({"not_defined": figures.reasons} if figures.reasons else {})


def _counts(cache: ActivationCache) -> dict[str, int]:
    images = len(set(cache.pair_images.tolist()))
    return {
        "pairs": cache.pairs,
        "images": images,
        "patches": images * cache.manifest.patches,
        "tokens": cache.text_tokens,
        "skipped": cache.skipped,
    }
