"""Mean states as an activation cache, from which every SAE of pooled embeddings can be trained.

A pair is an image of one patch and a caption of one token, the mean states; its pooled embeddings are those of the
auxiliary autoencoder, the space that both sides share. So `vision/pooled` and `text/pooled` are what VL-SAE reads of
a vision-language decoder (arXiv 2510.21323), as they are of a CLIP model.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pydantic import JsonValue

from cache import (
    SAMPLES_SCHEMA,
    ActivationCache,
    CacheWriter,
    Manifest,
    ShardActivations,
    captions_of_shards,
)
from pipeline.errors import BackboneError
from pipeline.language_models.decoder import MeanStates
from pipeline.sae.vl_sae.auxiliary_autoencoder import AuxiliaryAutoencoder

_SHARD = 4096


def write_state_cache(
    path: Path,
    files: Sequence[str],
    texts: Sequence[str],
    states: MeanStates,
    autoencoder: AuxiliaryAutoencoder | None,
    backbone: Mapping[str, JsonValue],
    dataset: Mapping[str, JsonValue],
) -> ActivationCache:
    """Write the states of pairs as a finished cache at `path`, float32, replacing none.

    Args:
        path: folder of the cache.
        files: picture of each pair.
        texts: text of each pair.
        states: mean states of each pair.
        autoencoder: gives the pooled embeddings; None to pool nothing beyond the mean, so that they are the states.
        backbone: identity of what computed the states: model, weights, layer, prompt.
        dataset: identity of the pairs.

    Raises:
        CacheIdentityError: a cache of something else is at `path`.
        BackboneError: the numbers of files, texts and states differ.
        ShardContentError: states are not finite.
        CacheError: the cache cannot be written.
    """
    if not len(files) == len(texts) == len(states.vision) == len(states.text):
        raise BackboneError(
            f"{len(files)} files, {len(texts)} texts, {len(states.vision)} image states and {len(states.text)} text "
            "states: a pair has one of each"
        )
    pooled = states if autoencoder is None else embedded(autoencoder, states)
    channels = states.vision.shape[1]
    manifest = Manifest(
        backbone=dict(backbone),
        dataset=dict(dataset),
        storage_dtype="float32",
        images=len(files),
        captions=len(files),
        patches=1,
        grid=(1, 1),
        vision_channels=channels,
        text_channels=channels,
        embedding=pooled.vision.shape[1],
        context_length=1,
        shard_images=_SHARD,
        shard_captions=captions_of_shards([1] * len(files), _SHARD),
        versions={name: version(name) for name in ("torch", "transformers")},
    )
    with CacheWriter.open(path, manifest) as writer:
        for shard in writer.missing_shards:
            rows = manifest.image_range(shard)
            writer.write_shard(shard, _activations(rows, states, pooled), _samples(rows, files, texts))
        return writer.finish()


@torch.no_grad()
def embedded(autoencoder: AuxiliaryAutoencoder, states: MeanStates) -> MeanStates:
    """The states in the space that the sides share."""
    return MeanStates(autoencoder.encode("vision", states.vision), autoencoder.encode("text", states.text))


def _activations(rows: range, states: MeanStates, pooled: MeanStates) -> ShardActivations:
    part = slice(rows.start, rows.stop)
    return ShardActivations(
        vision_tokens=states.vision[part, None].numpy(),
        vision_pooled=pooled.vision[part].numpy(),
        text_tokens=states.text[part].numpy(),
        text_lengths=np.ones(len(rows), np.int64),
        token_ids=np.zeros(len(rows), np.int64),
        text_pooled=pooled.text[part].numpy(),
    )


def _samples(rows: range, files: Sequence[str], texts: Sequence[str]) -> pa.Table:
    entries = [
        {"image_row": row, "image_id": row, "caption_id": row, "file": file, "caption": text}
        for row, file, text in zip(
            rows, files[rows.start : rows.stop], texts[rows.start : rows.stop], strict=True
        )
    ]
    return pa.Table.from_pylist(entries, schema=SAMPLES_SCHEMA)
