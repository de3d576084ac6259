"""Everything metrics.json holds about one trained dictionary, in one pass over a cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field, field_validator

from cache import ActivationCache
from pipeline.config import Options
from pipeline.datasets.geometry import ResizeMode
from pipeline.errors import RunError
from pipeline.metrics.concepts import ConceptMeter
from pipeline.metrics.degeneracy import DegeneracyMeter
from pipeline.metrics.encoding import encode_batch
from pipeline.metrics.grounding import GroundingMeter
from pipeline.metrics.pooling import Pooling
from pipeline.metrics.prompts import PromptEncoder
from pipeline.metrics.reconstruction import ReconstructionMeter
from pipeline.sae.base import SparseAutoencoder
from pipeline.sae.codes import SIDES

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


class EvaluateOptions(Options):
    """How a dictionary is measured; none of it changes the dictionary."""

    batch_pairs: int = Field(default=64, ge=1, description="pairs held at once; decides memory, not results")
    prompt: str = Field(
        default="a photo of a {category}", description="names a category that a caption does not name"
    )
    degeneracy_pooling: Pooling = Field(
        default="mean",
        description="how an image's or a caption's shared codes are pooled before its Top-k for maxfreq. The paper "
        "does not say; mean is how its losses pool",
    )
    concept_pooling: Pooling = Field(
        default="max",
        description="how an image's or a caption's shared codes are pooled to detect a concept: max, so that an "
        "object of three patches can speak as loud as one of a hundred",
    )
    least_positives: int = Field(
        default=10, ge=1, description="items with a concept, and as many without, that it takes to ask for it"
    )
    seed: int = Field(default=0, ge=0, description="shuffles labels for the chance level of concept recovery")

    @field_validator("prompt")
    @classmethod
    def _names_the_category(cls, prompt: str) -> str:
        if prompt.count("{category}") != 1 or "{" in prompt.replace("{category}", ""):
            raise ValueError("the prompt must contain {category} once, and no other brace")
        return prompt


@torch.inference_mode()
def evaluate(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone | None",
    options: EvaluateOptions,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure `sae` on every pair of `cache`: the value of metrics.json.

    Deterministic for given inputs on one machine. Memory is bounded by a batch, except for a pooled code per item
    and the sparse patch codes where samples state their true concepts.

    Args:
        sae: A trained dictionary, on its device; set to evaluation mode here.
        cache: The split to measure on.
        backbone: The model that made the cache; without it only the `uniform` heat map is scored.
        options: See EvaluateOptions.
        progress: Receives (pairs done, pairs in all) after every batch.

    Returns:
        `reconstruction`, `grounding`, `degeneracy`, `concepts` and `counts`. What does not apply is absent: `private`,
        `full_joint` and `leak` without private latents, `grounding` without boxes, `concepts` without ground truth.

    Raises:
        RunError: the dictionary was trained on activations of another width.
        DatasetError: a segmentation in the samples is malformed.
    """
    _check_widths(sae, cache)
    sae.eval()
    device = next(sae.parameters()).device
    grid, resize_mode = _patch_layout(cache)
    prompts = PromptEncoder(sae, backbone, options.prompt, options.batch_pairs) if backbone else None
    reconstruction = ReconstructionMeter(sae, {side: cache.statistics[side].mean for side in SIDES})
    grounding = GroundingMeter(prompts, cache.samples, grid, resize_mode)
    degeneracy = DegeneracyMeter(
        cache.pair_images, sae.shared_width, sae.private_width, options.degeneracy_pooling
    )
    concepts = ConceptMeter(
        cache.samples, grid, resize_mode, options.concept_pooling, options.least_positives
    )
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        encoded = encode_batch(sae, batch, device)
        for meter in (reconstruction, grounding, degeneracy, concepts):
            meter.update(encoded)
        done += len(batch.pair)
        if progress:
            progress(done, cache.pairs)
    metrics = {
        "reconstruction": reconstruction.result(),
        "grounding": grounding.result(),
        "degeneracy": degeneracy.result(),
        "concepts": concepts.result(options.seed),
        "counts": _counts(cache) | grounding.counts(),
    }
    return {key: value for key, value in metrics.items() if value}


def _check_widths(sae: SparseAutoencoder, cache: ActivationCache) -> None:
    manifest = cache.manifest
    for side, trained, cached in (
        ("vision", sae.vision_channels, manifest.vision_channels),
        ("text", sae.text_channels, manifest.text_channels),
    ):
        if trained != cached:
            raise RunError(
                f"{cache}: {cached} {side} channels, but the dictionary was trained on {trained}; "
                "evaluate on a cache of the backbone it was trained with"
            )


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
