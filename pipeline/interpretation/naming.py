"""Name the shared latents of a dictionary in one pass over a cache: LUCID (arXiv 2602.07311) 3.5 and A.2."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from pydantic import Field, field_validator
from torch import Tensor

from cache import ActivationCache
from pipeline.config import Options
from pipeline.errors import ConfigError
from pipeline.interpretation.clustering import greedy_cosine_clusters, purity
from pipeline.interpretation.concept_codes import ConceptCodes, encode_concepts
from pipeline.interpretation.concept_list import ConceptList, load_concept_list
from pipeline.interpretation.latent_table import LATENT_SCHEMA, METADATA_KEY, caption_records, image_records
from pipeline.interpretation.matching import ConceptIndex, count_hits
from pipeline.interpretation.peaks import TopItems, first_pairs, image_peaks, peaks
from pipeline.interpretation.scoring import score_names
from pipeline.metrics.pooling import Pooling
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone

Advance = Callable[[int, int], None]


class InterpretOptions(Options):
    """How latents are named. Defaults are the paper's where it gives them (sigma, purity)."""

    concepts: str = Field("world", description="An embedded concept list's name, or the path of one.")
    prompt: str = Field(
        "{term}",
        description="Text in which a term is encoded; 'a photo of a {term}' is SigLIP's habit, but its other words "
        "fire latents of their own, which only the IDF weights remove.",
    )
    pooling: Pooling = Field("max", description="How a term's token codes become one code.")
    idf: bool = Field(True, description="Weigh latents by log(concepts / concepts that activate them).")
    threshold: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Share of a concept's own weighted code that a patch must hold to be a hit.",
    )
    similarity: float = Field(
        0.78, ge=-1, le=1, description="Cosine at which two terms share a cluster (sigma)."
    )
    minimum_purity: float = Field(
        0.55, ge=0, le=1, description="Least share of hits in a named latent's cluster."
    )
    minimum_hits: int = Field(5, ge=1, description="Fewest hits of a named latent.")
    top_images: int = Field(12, ge=1, description="Images kept per latent.")
    top_captions: int = Field(8, ge=1, description="Captions kept per latent.")
    batch_pairs: int = Field(64, ge=1, description="Pairs in memory at once.")

    @field_validator("prompt")
    @classmethod
    def _prompt_has_a_place_for_the_term(cls, prompt: str) -> str:
        if "{term}" not in prompt:
            raise ValueError("the prompt has no {term} in it")
        return prompt


class Scan(NamedTuple):
    """What one pass over a cache gathers: hits `[latent, concept]`, and the peaks on both sides."""

    hits: Int[Tensor, "latent concept"]
    images: TopItems
    captions: TopItems


def interpret(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone",
    options: InterpretOptions,
    progress: Advance | None = None,
) -> pa.Table:
    """Name every shared latent by the concepts whose places in the images it dominates.

    The cache is read once, `options.batch_pairs` pairs at a time; memory does not depend on its size. An image
    with several captions is matched once. A split that knows its true concepts is read once more to score the names.

    Args:
        sae: A trained dictionary.
        cache: Activations of the split to interpret, of the backbone that `sae` was trained on.
        backbone: That backbone; it encodes the concept list.
        options: See InterpretOptions.
        progress: Receives (pairs done, pairs in all) after every batch.

    Returns:
        One row per shared latent in `LATENT_SCHEMA`; the schema's metadata records options,
        concept list, cache, and `score` (see `score_names`; null without ground truth).

    Raises:
        ConfigError: the concept list is missing, empty or has a term twice, or the dictionary reads pooled embeddings.
    """
    if sae.inputs != "tokens":
        raise ConfigError(
            "this dictionary reads pooled embeddings, and its latents have no place in a picture to be named by; "
            "interpret a variant that reads tokens"
        )
    concept_list = load_concept_list(options.concepts)
    concepts = encode_concepts(
        sae, backbone, concept_list.terms, options.prompt, options.pooling, weighted=options.idf
    )
    scan = scan_cache(sae, cache, concepts, options, progress)
    columns = {
        "latent": list(range(sae.shared_width)),
        **name_latents(scan.hits, concepts, concept_list, options),
        "vision_frequency": scan.images.frequency.tolist(),
        "text_frequency": scan.captions.frequency.tolist(),
        "top_images": image_records(cache, scan.images),
        "top_captions": caption_records(sae, cache, backbone, scan.captions),
    }
    table = pa.table(columns, schema=LATENT_SCHEMA)
    metadata = _metadata(cache, concept_list, concepts, options) | {
        "images": scan.images.items,
        "captions": scan.captions.items,
        "score": score_names(table, sae, cache, concept_list.truth, options.batch_pairs),
    }
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _metadata(
    cache: ActivationCache, concept_list: ConceptList, concepts: ConceptCodes, options: InterpretOptions
) -> dict[str, Any]:
    silent = (concepts.weight == 0).tolist()
    return {
        "cache_sha256": cache.manifest.sha256,
        "split": cache.manifest.dataset["split"],
        "options": options.model_dump(),
        "concept_list": {"name": concept_list.name, "sha256": concept_list.sha256},
        "concepts": len(concept_list.terms),
        "silent_concepts": [
            term for term, is_silent in zip(concept_list.terms, silent, strict=True) if is_silent
        ],
    }


@torch.inference_mode()
def scan_cache(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    concepts: ConceptCodes,
    options: InterpretOptions,
    progress: Advance | None = None,
) -> Scan:
    """Match every image with every concept and keep the strongest images and captions of each latent."""
    device = concepts.codes.device
    width = sae.shared_width
    index = ConceptIndex(concepts)
    hits = torch.zeros(width, len(concepts.codes), dtype=torch.int64, device=device)
    images = TopItems(width, options.top_images, device)
    captions = TopItems(width, options.top_captions, device)
    new_image = torch.from_numpy(np.isin(np.arange(cache.pairs), first_pairs(cache)))
    done = 0
    for batch in cache.iterate(options.batch_pairs):
        new = new_image[batch.pair]
        tokens = batch.vision_tokens[new].to(device)
        codes = sae.encode("vision", tokens.flatten(0, 1), "shared")
        hits += count_hits(index.match(codes, len(tokens)), options.threshold, width)
        images.update(image_peaks(codes, len(tokens), width), batch.pair[new].to(device))
        codes = sae.encode("text", batch.text_tokens.to(device), "shared")
        captions.update(peaks(codes, batch.text_offsets.to(device), width), batch.pair.to(device))
        done += len(batch.pair)
        if progress is not None:
            progress(done, cache.pairs)
    return Scan(hits, images, captions)


def name_latents(
    hits: Int[Tensor, "latent concept"],
    concepts: ConceptCodes,
    concept_list: ConceptList,
    options: InterpretOptions,
) -> dict[str, list[object]]:
    """Cluster every latent's concepts and name it after the largest cluster, by column of `LATENT_SCHEMA`."""
    names: dict[str, list[object]] = {"name": [], "named": [], "purity": [], "hits": [], "clusters": []}
    for latent_hits in hits.cpu():
        listed = torch.nonzero(latent_hits).flatten()
        counts = latent_hits[listed].tolist()
        clusters = greedy_cosine_clusters(concepts.embeddings[listed].cpu(), counts, options.similarity)
        terms = [concept_list.terms[concept] for concept in listed.tolist()]
        pure, total = purity(clusters), sum(counts)
        names["name"].append(terms[clusters[0].terms[0]] if clusters else None)
        names["named"].append(total >= options.minimum_hits and pure >= options.minimum_purity)
        names["purity"].append(pure if clusters else None)
        names["hits"].append(total)
        names["clusters"].append(
            [
                {
                    "hits": cluster.hits,
                    "terms": [{"term": terms[t], "hits": counts[t]} for t in cluster.terms],
                }
                for cluster in clusters
            ]
        )
    return names
