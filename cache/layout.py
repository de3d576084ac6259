"""Which arrays a cache has, and their shapes, chunks and shards: everything follows from the manifest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache.durable import sync, write_durably
from cache.errors import CacheFormatError
from cache.manifest import Manifest
from cache.metadata import array_document, as_bytes, group_document, sharded

TOKEN_CHUNK = 256
"""Text tokens of one inner chunk: about 400 kB at 768 channels, as measured best for packed text."""

CHECKSUM_BYTES = 4
"""A CRC32C follows every chunk and every shard index."""

SAMPLES_FILE = "samples.parquet"
LEDGER_FILE = "ledger.parquet"
LEDGER_FOLDER = "ledger"


@dataclass(frozen=True)
class ShardedLayout:
    """Layout of one sharded array: shard k holds rows `k * shard_rows` and following.

    Attributes:
        name: path of the array inside the group, for example "vision/tokens".
        shape: rows, then the shape of one row.
        chunk_rows: rows of one inner chunk, the unit of reading and of the checksum.
        shard_rows: rows of one shard, the unit of writing; a multiple of `chunk_rows`.
        dtype: little-endian numpy dtype as stored.
        dimensions: one name per dimension, the first that of the rows.
    """

    name: str
    shape: tuple[int, ...]
    chunk_rows: int
    shard_rows: int
    dtype: np.dtype[Any]
    dimensions: tuple[str, ...]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row without checksum."""
        return int(np.prod(self.row_shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one inner chunk without checksum."""
        return self.chunk_rows * self.row_bytes

    @property
    def shard_chunks(self) -> int:
        """Inner chunks of one shard, written or not."""
        return self.shard_rows // self.chunk_rows

    @property
    def index_bytes(self) -> int:
        """Bytes of the shard index at the end of a shard file, checksum included."""
        return 16 * self.shard_chunks + CHECKSUM_BYTES

    def shard_bytes(self, rows: int) -> int:
        """Bytes of a shard file with `rows` rows at its front."""
        return -(-rows // self.chunk_rows) * (self.chunk_bytes + CHECKSUM_BYTES) + self.index_bytes

    def document(self) -> dict[str, Any]:
        """The array's metadata, its `zarr.json`."""
        chunk, shard = (self.chunk_rows, *self.row_shape), (self.shard_rows, *self.row_shape)
        return array_document(self.shape, shard, self.dtype, sharded(chunk), self.dimensions)

    def shard_file(self, shard: int) -> str:
        """Path of a shard file inside the cache folder."""
        return f"{self.name}/c." + ".".join([str(shard)] + ["0"] * len(self.row_shape))


def sharded_layouts(manifest: Manifest) -> dict[str, ShardedLayout]:
    """The sharded arrays of a cache by name, in the order in which a shard is written.

    Text comes before vision, so that the largest file of a shard is the last.
    """
    captions, images = manifest.caption_capacity, manifest.shard_images
    tokens = -(-captions * manifest.context_length // TOKEN_CHUNK) * TOKEN_CHUNK
    last = manifest.caption_range(manifest.shards - 1)
    caption_rows = last.start + max(1, len(last))
    activation = np.dtype(manifest.storage_dtype).newbyteorder("<")
    layouts = (
        ShardedLayout(
            "text/tokens",
            (manifest.shards * tokens, manifest.text_channels),
            TOKEN_CHUNK,
            tokens,
            activation,
            ("token", "channel"),
        ),
        ShardedLayout(
            "text/token_ids", (manifest.shards * tokens,), TOKEN_CHUNK, tokens, np.dtype("<i8"), ("token",)
        ),
        ShardedLayout(
            "text/pooled",
            (caption_rows, manifest.embedding),
            1,
            captions,
            activation,
            ("caption", "embedding"),
        ),
        ShardedLayout(
            "vision/pooled",
            (manifest.images, manifest.embedding),
            1,
            images,
            activation,
            ("image", "embedding"),
        ),
        ShardedLayout(
            "vision/tokens",
            (manifest.images, manifest.patches, manifest.vision_channels),
            1,
            images,
            activation,
            ("image", "patch", "channel"),
        ),
    )
    return {layout.name: layout for layout in layouts}


def create_arrays(path: Path, manifest: Manifest) -> None:
    """Write the metadata of the large arrays and of the two groups they are in, durably."""
    for layout in sharded_layouts(manifest).values():
        folder = path / layout.name
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / "zarr.json", as_bytes(layout.document()))
    for group in ("vision", "text"):
        write_durably(path / group / "zarr.json", as_bytes(group_document(path / group, {})))
    sync(path)


def check_arrays(path: Path, manifest: Manifest) -> None:
    """Check that the metadata on disk describes exactly the large arrays that the manifest implies.

    Raises:
        CacheFormatError: naming the first array and key that differ.
    """
    for layout in sharded_layouts(manifest).values():
        where = path / layout.name / "zarr.json"
        try:
            found = json.loads(where.read_bytes())
        except (OSError, ValueError) as error:
            raise CacheFormatError(f"{where}: cannot be read as array metadata ({error})") from None
        for key, expected in layout.document().items():
            value = found.get(key) if isinstance(found, dict) else None
            if value != expected:
                raise CacheFormatError(f"{where}: {key} is {value!r}, the manifest implies {expected!r}")
