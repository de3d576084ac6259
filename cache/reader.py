"""Reading a finished cache: every byte that is handed out has passed its checksum."""

import functools
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from cache.batch import PairBatch, packed_rows
from cache.errors import CacheIncompleteError
from cache.layout import LEDGER_FOLDER, SAMPLES_FILE, check_arrays, sharded_layouts
from cache.ledger import check_ledger, read_statistics
from cache.manifest import Manifest, refuse_other_identity
from cache.prefetch import prefetched
from cache.root import Completion, read_root
from cache.samples import read_samples
from cache.shard import ShardedArray
from cache.small_array import read_small_array
from cache.statistics import SideStatistics


class ActivationCache:
    """A finished cache, opened for reading from any number of threads; get one from `ActivationCache.open`.

    Attributes:
        path: folder of the cache.
        manifest: identity and dimensions.
        pairs: number of pairs.
        skipped: number of rows of samples that are no pair.
        text_tokens: number of valid text tokens.
    """

    def __init__(self, path: Path, manifest: Manifest, completion: Completion) -> None:
        self.path = path
        self.manifest = manifest
        self.pairs = completion.totals["pairs"]
        self.skipped = completion.totals["skipped"]
        self.text_tokens = completion.totals["tokens"]
        self._completion = completion
        self._samples_file = completion.files.get(SAMPLES_FILE)
        self._arrays = {
            name: ShardedArray(path, layout) for name, layout in sharded_layouts(manifest).items()
        }
        self._threads = min(4, os.cpu_count() or 1)
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="cache-reader")

    @classmethod
    def open(cls, path: Path | str, backbone: Mapping[str, Any] | None = None) -> Self:
        """Open the cache at `path`.

        Args:
            path: folder of the cache.
            backbone: identity of the model that the activations must come from; None accepts any.

        Raises:
            CacheMissingError: nothing is at `path`.
            CacheFormatError: something else is there, or metadata contradicts the manifest.
            CacheIncompleteError: shards are missing; names how many are written.
            CacheIdentityError: the cache comes from another backbone; names every differing key and both values.
            CacheCorruptError: a file is missing or has the wrong size.
        """
        path = Path(path)
        manifest, completion = read_root(path)
        if backbone is not None:
            refuse_other_identity(
                {"backbone": manifest.backbone},
                {"backbone": dict(backbone)},
                str(path),
                "encode again with this backbone or use the one it was written with",
            )
        if completion is None:
            written = len(list((path / LEDGER_FOLDER).glob("*.json")))
            raise CacheIncompleteError(
                f"{path}: {written} of {manifest.shards} shards are committed; "
                "run the command that encodes it again, it continues where it stopped"
            )
        check_arrays(path, manifest)
        check_ledger(path, manifest, completion)
        return cls(path, manifest, completion)

    @functools.cached_property
    def statistics(self) -> dict[str, SideStatistics]:
        """Statistics of "vision" and "text": exact moments of the stored tokens that are part of a pair."""
        return {side: read_statistics(self.path, side, self._completion) for side in ("vision", "text")}

    @functools.cached_property
    def samples(self) -> pa.Table:
        """The rows of samples.parquet, columns `SAMPLES_SCHEMA`; skipped ones have a null `pair`."""
        return read_samples(self.path / SAMPLES_FILE, self._samples_file)

    @functools.cached_property
    def pair_images(self) -> Int[np.ndarray, "pair"]:
        """Image row of every pair, int64."""
        return self._pair_column("image_row")

    @functools.cached_property
    def pair_captions(self) -> Int[np.ndarray, "pair"]:
        """Caption row of every pair, int64."""
        return self._pair_column("caption_row")

    @functools.cached_property
    def caption_starts(self) -> Int[np.ndarray, "caption"]:
        """Row of `text/tokens` where each caption row begins, int64."""
        return self._read_positions("text/starts")

    @functools.cached_property
    def caption_lengths(self) -> Int[np.ndarray, "caption"]:
        """Valid tokens of each caption row, int64."""
        return self._read_positions("text/lengths")

    def read_pairs(self, pair_indices: Int[np.ndarray, "pair"]) -> PairBatch:
        """Read pairs in the given order into host memory.

        Args:
            pair_indices: int64 [pair], each in `range(pairs)`.

        Raises:
            IndexError: an index is out of range.
            CacheCorruptError: a shard file is missing, truncated, or fails a checksum; names array and shard.
        """
        indices = np.asarray(pair_indices, np.int64)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.pairs:
            raise IndexError(f"{self.path}: pair indices {indices.min()} to {indices.max()} of {self.pairs}")
        captions, images = self.pair_captions[indices], self.pair_images[indices]
        rows, offsets = packed_rows(
            torch.from_numpy(self.caption_starts[captions]), torch.from_numpy(self.caption_lengths[captions])
        )
        tokens, pooled = self.read_images(images)
        return PairBatch(
            pair=torch.from_numpy(indices.copy()),
            vision_tokens=tokens,
            text_tokens=self._read_float("text/tokens", rows.numpy()),
            text_offsets=offsets,
            token_ids=torch.from_numpy(self.read_rows("text/token_ids", rows.numpy())),
            vision_pooled=pooled,
            text_pooled=self._read_float("text/pooled", captions),
        )

    def read_images(
        self, image_rows: Int[np.ndarray, "image"]
    ) -> tuple[Float[Tensor, "image patch channel"], Float[Tensor, "image embedding"]]:
        """Patch tokens and pooled embeddings of image rows, float32; rows of skipped images are zero.

        Raises:
            CacheCorruptError: as `read_pairs`.
        """
        rows = np.asarray(image_rows, np.int64)
        return self._read_float("vision/tokens", rows), self._read_float("vision/pooled", rows)

    def read_rows(self, name: str, rows: Int[np.ndarray, "row"]) -> Shaped[np.ndarray, "row ..."]:
        """Rows of the sharded array `name`, for example "vision/tokens", in the given order and as stored.

        Raises:
            CacheCorruptError: as `read_pairs`.
        """
        return self._arrays[name].read_rows(rows, self._executor, self._threads)

    def iterate(self, batch_pairs: int) -> Iterator[PairBatch]:
        """All pairs in order, the last batch possibly smaller, read ahead by one batch."""
        parts = (
            np.arange(start, min(start + batch_pairs, self.pairs))
            for start in range(0, self.pairs, batch_pairs)
        )
        return prefetched(self.read_pairs, parts, ahead=1)

    def _read_float(self, name: str, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.read_rows(name, rows)).float()

    def _read_positions(self, name: str) -> NDArray[np.int64]:
        rows = self._arrays["text/pooled"].layout.shape[0]
        return read_small_array(self.path, name, rows, np.dtype("<i8"))

    def _pair_column(self, name: str) -> NDArray[np.int64]:
        table = read_samples(self.path / SAMPLES_FILE, self._samples_file, ["pair", name])
        column: NDArray[np.int64] = table.filter(table["pair"].is_valid())[name].to_numpy()
        return column
