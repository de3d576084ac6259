"""Name the shared latents of a dictionary in one pass over a cache: LUCID (arXiv 2602.07311) 3.5 and A.2."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache import ActivationCache
from pipeline.interpretation.cluster_embeddings import cluster_embeddings
from pipeline.interpretation.clustering import greedy_cosine_clusters, purity
from pipeline.interpretation.concept_codes import ConceptCodes, encode_concepts
from pipeline.interpretation.concept_list import ConceptList, load_concept_list
from pipeline.interpretation.identity import dictionary_sha256
from pipeline.interpretation.known_terms import split_by_tokenizer
from pipeline.interpretation.latent_table import LATENT_SCHEMA, METADATA_KEY, caption_records, image_records
from pipeline.interpretation.levels import Level, levels_of
from pipeline.interpretation.options import InterpretOptions
from pipeline.interpretation.scan import Scan, scan_cache
from pipeline.interpretation.scoring import score_table, true_concepts
from pipeline.not_finite import refuse_weights_not_finite
from pipeline.progress import Advance
from pipeline.sae.base import SparseAutoencoder

if TYPE_CHECKING:
    from pipeline.backbone.model import Backbone


def interpret(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    backbone: "Backbone",
    options: InterpretOptions,
    progress: Advance | None = None,
    on_terms: Advance | None = None,
) -> pa.Table:
    """Name every shared latent by the concepts whose places in the images it dominates.

    Image-level latents are named likewise, a whole image being their one place, where their `confidence` is at least
    `options.minimum_confidence`.

    The cache is read once, `options.batch_pairs` pairs at a time; memory does not depend on its size. An image
    with several captions is matched once. A split that knows its true concepts is read once more to score the names.
    A dictionary of pooled embeddings is named likewise, a whole image being its one place.

    Args:
        sae: A trained dictionary.
        cache: Activations of the split to interpret, of the backbone that `sae` was trained on.
        backbone: That backbone; it encodes the concept list.
        options: See InterpretOptions.
        progress: Receives (pairs done, pairs in all) after every batch.
        on_terms: Receives (terms encoded, terms in all) before that; of a long list this takes its time.

    Returns:
        One row per shared latent, then one per image-level latent, in `LATENT_SCHEMA`; its module describes the
        metadata.

    Raises:
        ConfigError: the concept list is missing, empty, has a term twice or none that the tokenizer knows; or the
            sentence encoder is not installed.
        RunError: a weight, an activation or a code is not finite.
    """
    listed = load_concept_list(options.concepts)
    concept_list, unknown, repeated = split_by_tokenizer(listed, backbone, options.prompt)
    refuse_weights_not_finite(sae)
    embeddings = cluster_embeddings(concept_list.terms, options.cluster_encoder, backbone)
    levels = levels_of(sae)
    concepts = encode_concepts(
        levels,
        backbone,
        concept_list.terms,
        options.prompt,
        options.pooling,
        weighted=options.idf,
        progress=on_terms,
    )
    scans = scan_cache(levels, cache, concepts, options, progress)
    tables = []
    for level, scan in zip(levels, scans, strict=True):
        names = name_latents(scan.hits, embeddings, concept_list, options)
        tables.append(_level_table(level, scan, cache, backbone, names, options.minimum_confidence))
    table = pa.concat_tables(tables)
    found = true_concepts(table, sae, cache, concept_list.truth, options.batch_pairs)
    metadata = _metadata(sae, cache, concept_list, concepts[0], options) | {
        "unknown_concepts": list(unknown),
        "repeated_concepts": repeated,
        "images": scans[0].images.items,
        "captions": scans[0].captions.items,
        "score": None if found is None else score_table(table, found),
        "true_concepts": {str(latent): concepts._asdict() for latent, concepts in (found or {}).items()},
    }
    return table.replace_schema_metadata(
        {METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}
    )


def _level_table(
    level: Level,
    scan: Scan,
    cache: ActivationCache,
    backbone: "Backbone",
    names: Mapping[str, list[object]],
    minimum_confidence: float,
) -> pa.Table:
    sure = [value is None or value >= minimum_confidence for value in level.confidence]
    columns = {
        "latent": list(level.numbers),
        "confidence": level.confidence,
        **names,
        "named": [named and enough for named, enough in zip(names["named"], sure, strict=True)],
        "vision_frequency": scan.images.frequency.tolist(),
        "text_frequency": scan.captions.frequency.tolist(),
        "top_images": image_records(level, cache, scan.images),
        "top_captions": caption_records(level, cache, backbone, scan.captions),
    }
    return pa.table(columns, schema=LATENT_SCHEMA)


def _metadata(
    sae: SparseAutoencoder,
    cache: ActivationCache,
    concept_list: ConceptList,
    concepts: ConceptCodes,
    options: InterpretOptions,
) -> dict[str, Any]:
    silent = (concepts.weight == 0).tolist()
    return {
        "inputs": sae.reader.inputs,
        "dictionary_sha256": dictionary_sha256(sae),
        "cache_sha256": cache.manifest.sha256,
        "split": cache.manifest.dataset["split"],
        "options": options.model_dump(),
        "concept_list": {"name": concept_list.name, "sha256": concept_list.sha256},
        "concepts": len(concept_list.terms),
        "silent_concepts": [
            term for term, is_silent in zip(concept_list.terms, silent, strict=True) if is_silent
        ],
    }


def name_latents(
    hits: Int[Tensor, "latent concept"],
    embeddings: Float[Tensor, "concept embedding"],
    concept_list: ConceptList,
    options: InterpretOptions,
) -> dict[str, list[object]]:
    """Cluster every latent's concepts and name it after the largest cluster, by column of `LATENT_SCHEMA`."""
    names: dict[str, list[object]] = {"name": [], "named": [], "purity": [], "hits": [], "clusters": []}
    for latent_hits in hits.cpu():
        listed = torch.nonzero(latent_hits).flatten()
        counts = latent_hits[listed].tolist()
        clusters = greedy_cosine_clusters(embeddings[listed], counts, options.similarity)
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
