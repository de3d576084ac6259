"""A cache as plain safetensors or Parquet files, one for each shard, for those who want nothing but arrays."""

import functools
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cache.errors import CacheError, reason_and_file
from cache.files.durable import DurableFile, sync, write_durably
from cache.format.samples import write_samples
from cache.operations.tasks import OnProgress, computed
from cache.reading.reader import ActivationCache

ExportFormat = Literal["safetensors", "parquet"]

SHARDS_TOGETHER = 2
"""Shards that are exported at a time, each a Dask task; the memory that exporting takes is proportional to it."""

_DESCRIPTION = {
    "safetensors": {
        "pair": "int64 [pair]: number of the pair, as in samples.parquet",
        "image": "int64 [pair]: the pair's row of the tensors of images",
        "image_id": "int64 [image]: as in the data set",
        "vision_tokens": "[image, patch, channel]: patch tokens, row by row of the grid",
        "vision_pooled": "[image, embedding]: what the backbone itself outputs for the image",
        "text_offsets": "int64 [pair + 1]: tokens of the i-th pair are rows text_offsets[i] to text_offsets[i + 1] - 1",
        "text_tokens": "[token, channel]: tokens of all captions, one after another",
        "token_ids": "int64 [token]: the tokenizer's ids",
        "text_pooled": "[pair, embedding]: what the backbone itself outputs for the caption",
    },
    "parquet": {
        "image_id": "as in the data set; a row is an image with at least one pair",
        "vision_tokens": "patch tokens as one list, patch by patch, row by row of the grid",
        "vision_pooled": "what the backbone itself outputs for the image",
        "pairs": "the image's captions: pair (its number, as in samples.parquet), token_ids (the tokenizer's ids), "
        "text_tokens (the tokens as one list, token by token) and text_pooled (what the backbone itself outputs)",
    },
}


class PairTensors(NamedTuple):
    """The pairs of one shard; images with several captions are there once.

    Attributes:
        pair: int64 [pair].
        image: int64 [pair], row of the tensors of images.
        image_id: int64 [image].
        vision_tokens, vision_pooled: [image, patch, channel] and [image, embedding], in the dtype as stored; of int8
            the decoded float32.
        text_offsets: int64 [pair + 1], rows of the tokens of each pair.
        text_tokens: [token, channel], likewise.
        token_ids: int64 [token].
        text_pooled: [pair, embedding], likewise.
    """

    pair: Int[Tensor, "pair"]
    image: Int[Tensor, "pair"]
    image_id: Int[Tensor, "image"]
    vision_tokens: Float[Tensor, "image patch vision_channel"]
    vision_pooled: Float[Tensor, "image embedding"]
    text_offsets: Int[Tensor, " pair_plus_1"]
    text_tokens: Float[Tensor, "token text_channel"]
    token_ids: Int[Tensor, "token"]
    text_pooled: Float[Tensor, "pair embedding"]


def export(
    cache: ActivationCache, folder: Path, kind: ExportFormat, on_progress: OnProgress | None = None
) -> None:
    """Write the pairs of `cache` into `folder`: a file for each shard, `samples.parquet`, and a description.

    The description, `description.json`, is written last: an export without it is unfinished. Skipped images and
    captions are left out of the files, not of `samples.parquet`.

    Args:
        cache: may be behind a URL.
        folder: missing or empty.
        kind: of the files.
        on_progress: called with the shards written and those in all.

    Raises:
        CacheError: the folder is not empty, or cannot be written.
        CacheCorruptError: the cache is damaged; names array and shard.
    """
    shards = range(cache.manifest.shards)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CacheError(f"{folder}: is not empty; choose another folder or delete what is in it")
        pairs = cache.samples.filter(cache.samples["pair"].is_valid())
        task = functools.partial(_export_shard, cache, folder, kind, pairs["image_id"].to_numpy())
        for done, _ in enumerate(computed(task, shards, SHARDS_TOGETHER), start=1):
            if on_progress is not None:
                on_progress(done, len(shards))
        write_samples(folder / "samples.parquet", [cache.samples])
        description = json.dumps(_description(cache, kind), indent=2).encode()
        write_durably(folder / "description.json", description)
    except OSError as error:
        raise CacheError(
            f"{folder}: cannot be written ({reason_and_file(error)}); see to that, delete what is in it, and "
            "export again"
        ) from None


def _description(cache: ActivationCache, kind: ExportFormat) -> dict[str, Any]:
    return {
        "files": f"shard-NNNNN.{kind}, one for each of the {cache.manifest.shards} shards of the cache",
        "samples.parquet": "one row for each image and caption: ids, image file, caption, boxes, concepts",
        "contents": _DESCRIPTION[kind],
        "manifest": cache.manifest.to_json(),
    }


def _export_shard(
    cache: ActivationCache, folder: Path, kind: ExportFormat, image_ids: Int[np.ndarray, "pair"], shard: int
) -> None:
    tensors = _pair_tensors(cache, image_ids, shard)
    with DurableFile(folder / f"shard-{shard:05d}.{kind}") as file:
        if kind == "safetensors":
            file.write(safetensors.torch.save(tensors._asdict()))
        else:
            pq.write_table(_table(tensors), file, compression="none")
    sync(folder)


def _pair_tensors(cache: ActivationCache, image_ids: Int[np.ndarray, "pair"], shard: int) -> PairTensors:
    rows = cache.manifest.image_range(shard)
    first, last = np.searchsorted(cache.pair_images, [rows.start, rows.stop])
    where = cache.pair_rows(np.arange(first, last))
    images, first_pair, image = np.unique(where.images, return_index=True, return_inverse=True)
    return PairTensors(
        pair=torch.from_numpy(where.pairs),
        image=torch.from_numpy(image),
        image_id=torch.from_numpy(image_ids[where.pairs[first_pair]]),
        vision_tokens=_values(cache, "vision/tokens", images),
        vision_pooled=_values(cache, "vision/pooled", images),
        text_offsets=torch.from_numpy(where.token_offsets),
        text_tokens=_values(cache, "text/tokens", where.tokens),
        token_ids=torch.from_numpy(cache.read_rows("text/token_ids", where.tokens)),
        text_pooled=_values(cache, "text/pooled", where.captions),
    )


def _values(cache: ActivationCache, name: str, rows: Int[np.ndarray, "row"]) -> Float[Tensor, "row ..."]:
    stored = cache.read_stored(name, rows)
    return stored.values if stored.calibration is None else stored.decoded()


def _table(tensors: PairTensors) -> pa.Table:
    """One row for each image, its captions as a list of structs."""
    offsets = tensors.text_offsets.numpy()
    captions = pa.StructArray.from_arrays(
        [
            pa.array(tensors.pair.numpy()),
            pa.LargeListArray.from_arrays(offsets, pa.array(tensors.token_ids.numpy())),
            pa.LargeListArray.from_arrays(offsets * tensors.text_tokens.shape[1], _flat(tensors.text_tokens)),
            _lists(tensors.text_pooled),
        ],
        ["pair", "token_ids", "text_tokens", "text_pooled"],
    )
    captions_of_images = np.searchsorted(tensors.image.numpy(), np.arange(len(tensors.image_id) + 1))
    columns = {
        "image_id": pa.array(tensors.image_id.numpy()),
        "vision_tokens": _lists(tensors.vision_tokens),
        "vision_pooled": _lists(tensors.vision_pooled),
        "pairs": pa.LargeListArray.from_arrays(captions_of_images, captions),
    }
    return pa.table(columns)


def _lists(values: Float[Tensor, "row ..."]) -> pa.Array:
    """Each row as one list."""
    return pa.FixedSizeListArray.from_arrays(_flat(values), values[0].numel() if len(values) else 1)


def _flat(values: Float[Tensor, "..."]) -> pa.Array:
    """All values one after another; as float32 if they are bfloat16, which Parquet does not have."""
    return pa.array((values.float() if values.dtype == torch.bfloat16 else values).flatten().numpy())
