"""What the writer takes: the activations of one shard, checked and cast to the storage dtype."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray

from cache.errors import ShardContentError
from cache.format.codecs import CODECS
from cache.format.manifest import Manifest
from cache.format.quantisation import quantise
from cache.format.storage import LARGEST, Calibration, StoredRows, as_tensor, clipped, rounded
from cache.format.storage_options import StorageCodec, StorageDtype


class ShardActivations(NamedTuple):
    """Activations of one shard's images and captions, in image order; skipped ones are rows of zeros.

    Attributes:
        vision_tokens: floating point [image, patch, channel].
        vision_pooled: floating point [image, embedding].
        text_tokens: floating point [token, channel], the valid tokens of all captions one after another.
        text_lengths: int64 [caption], valid tokens of each caption, 0 for skipped captions.
        token_ids: int64 [token], the tokenizer's ids of `text_tokens`.
        text_pooled: floating point [caption, embedding].
    """

    vision_tokens: Float[np.ndarray, "image patch vision_channel"]
    vision_pooled: Float[np.ndarray, "image embedding"]
    text_tokens: Float[np.ndarray, "token text_channel"]
    text_lengths: Int[np.ndarray, "caption"]
    token_ids: Int[np.ndarray, "token"]
    text_pooled: Float[np.ndarray, "caption embedding"]


@dataclass(frozen=True, eq=False)
class StoredShard:
    """The arrays of one shard by name, as they are stored, and how many values of each side were clipped."""

    arrays: dict[str, NDArray[np.generic]]
    vision_overflow: int
    text_overflow: int

    def tokens(self, side: str) -> StoredRows:
        """Tokens of "vision" or "text" as a reader gets them from the finished cache."""
        values = as_tensor(self.arrays[f"{side}/tokens"])
        if f"{side}/token_scale" not in self.arrays:
            return StoredRows(values)
        scale, mean, std = (
            as_tensor(self.arrays[f"{side}/{name}"])
            for name in ("token_scale", "channel_mean", "channel_std")
        )
        return StoredRows(values, Calibration(scale, torch.zeros(len(values), dtype=torch.int32), mean, std))


def check_shapes(activations: ShardActivations, manifest: Manifest, shard: int, where: str) -> None:
    """Check shapes, dtypes and lengths against the manifest.

    Raises:
        ShardContentError: naming the first array that does not fit.
    """
    images, captions = len(manifest.image_range(shard)), manifest.shard_captions[shard]
    tokens = int(np.sum(activations.text_lengths))
    expected: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "vision_tokens": ((images, manifest.patches, manifest.vision_channels), np.floating),
        "vision_pooled": ((images, manifest.embedding), np.floating),
        "text_lengths": ((captions,), np.integer),
        "text_tokens": ((tokens, manifest.text_channels), np.floating),
        "token_ids": ((tokens,), np.integer),
        "text_pooled": ((captions, manifest.embedding), np.floating),
    }
    for name, (shape, kind) in expected.items():
        array = getattr(activations, name)
        if array.shape != shape or not np.issubdtype(array.dtype, kind):
            raise ShardContentError(
                f"{where}: {name} is {array.dtype} {list(array.shape)}, the manifest implies "
                f"{kind.__name__} {list(shape)}"
            )
    lengths = activations.text_lengths
    if captions and not 0 <= lengths.min() <= lengths.max() <= manifest.context_length:
        raise ShardContentError(
            f"{where}: text_lengths has {lengths.min()} to {lengths.max()} tokens, "
            f"the context holds 0 to {manifest.context_length}"
        )


def refuse_non_finite(activations: ShardActivations, samples: pa.Table, where: str) -> None:
    """Check that every activation is a finite number.

    Args:
        activations: of one shard.
        samples: the shard's samples, with `caption_row` filled in.
        where: what to call the shard in messages.

    Raises:
        ShardContentError: naming the ids of the images whose activations, or whose captions', are not finite.
    """
    rows, ids = samples["image_row"].to_numpy(), samples["image_id"].to_numpy()
    _, first = np.unique(rows, return_index=True)
    has_caption = samples["caption_row"].is_valid().to_numpy(zero_copy_only=False)
    of_images, of_captions = ids[first], ids[has_caption]
    of_tokens = np.repeat(of_captions, activations.text_lengths)
    for name, owners in (
        ("vision_tokens", of_images),
        ("vision_pooled", of_images),
        ("text_tokens", of_tokens),
        ("text_pooled", of_captions),
    ):
        array = getattr(activations, name)
        if not _all_finite(array):
            bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
            named = np.unique(owners[bad])
            more = f" and {len(named) - 10} more" if len(named) > 10 else ""
            raise ShardContentError(
                f"{where}: {name} has values that are not finite for image ids "
                f"{', '.join(map(str, named[:10]))}{more}; encode in higher precision or skip these images"
            )


def stored_shard(activations: ShardActivations, dtype: StorageDtype, codec: StorageCodec) -> StoredShard:
    """Cast finite activations to the storage dtype; values beyond its range are clipped and counted.

    Tokens are rounded, too, if `codec` rounds.
    """
    vision, vision_overflow = _stored_side(
        "vision", activations.vision_tokens, activations.vision_pooled, dtype, codec
    )
    text, text_overflow = _stored_side("text", activations.text_tokens, activations.text_pooled, dtype, codec)
    token_ids = {"text/token_ids": activations.token_ids.astype(np.int64)}
    return StoredShard({**vision, **text, **token_ids}, vision_overflow, text_overflow)


def _stored_side(
    side: str,
    tokens: Float[np.ndarray, "... channel"],
    pooled: Float[np.ndarray, "row embedding"],
    dtype: StorageDtype,
    codec: StorageCodec,
) -> tuple[dict[str, NDArray[np.generic]], int]:
    """The stored arrays of one side by name, and how many values were clipped."""
    pooled_dtype: StorageDtype = "float16" if dtype == "int8" else dtype
    tokens, clipped_tokens = clipped(tokens, CODECS[codec].largest(LARGEST[dtype]))
    pooled, clipped_pooled = clipped(pooled, LARGEST[pooled_dtype])
    stored: dict[str, NDArray[np.generic]] = {"pooled": rounded(pooled, pooled_dtype)}
    if dtype == "int8":
        stored |= quantise(tokens)._asdict()
    else:
        stored["tokens"] = CODECS[codec].rounded(rounded(tokens, dtype))
    arrays = {f"{side}/{name}": array for name, array in stored.items()}
    return arrays, clipped_tokens + clipped_pooled


def _all_finite(values: Shaped[np.ndarray, "..."]) -> bool:
    """Whether no value is NaN or infinite; extrema propagate both and need no array of flags.

    numpy compares half-precision numbers a hundred times slower than integers, and of their bit patterns, too, those of
    NaN and the infinities are the largest, among the positive numbers as among the negative ones.
    """
    if values.size == 0:
        return True
    if values.dtype == np.float16:
        return bool(values.view(np.int16).max() < 0x7C00 and values.view(np.uint16).max() < 0xFC00)
    return bool(np.isfinite(values.min()) and np.isfinite(values.max()))
