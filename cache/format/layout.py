"""Which arrays a cache has, and their shapes, chunks and shards: everything follows from the manifest."""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache.errors import CacheFormatError, unreadable
from cache.files.location import DOCUMENT_BYTES, Location, read_whole
from cache.format.codecs import largest_encoded
from cache.format.hierarchy import DOCUMENT, Hierarchy
from cache.format.manifest import Manifest
from cache.format.storage import POOLED_DTYPE, TOKEN_DTYPE
from cache.format.storage_options import StorageCodec
from cache.shown import shown_value

TOKEN_CHUNK = 16
"""Text tokens of one inner chunk: about as many as a caption has, since reading a caption reads all of its chunks."""

CHECKSUM_BYTES = 4
"""A CRC32C follows every chunk and every shard index."""

ACTIVATIONS = ("vision/tokens", "vision/pooled", "text/tokens", "text/pooled")
"""The arrays of activations; all others say where these are or how they are decoded."""

ROOT_FILE = DOCUMENT
SAMPLES_FILE = "samples.parquet"
LEDGER_FILE = "ledger.parquet"
LEDGER_FOLDER = "ledger"
POSITION_FILES = ("text/starts/c.0", "text/lengths/c.0")
POSITION_MEANS_FILES = tuple(
    f"statistics/{side}/{chunk}"
    for side in ("vision", "text")
    for chunk in ("position_count/c.0", "position_mean/c.0.0")
)
"""Where the captions are; readers find the tokens of a pair by them."""


@dataclass(frozen=True)
class ShardedLayout:
    """Layout of one sharded array: shard k holds rows `k * shard_rows` and following.

    Attributes:
        name: path of the array inside the group, for example "vision/tokens".
        shape: rows, then the shape of one row.
        chunk_rows: rows of one inner chunk, the unit of reading and of the checksum.
        shard_rows: rows of one shard, the unit of writing; a multiple of `chunk_rows`.
        dtype: little-endian numpy dtype as stored; uint16 holds the bits of bfloat16.
        dimensions: one name per dimension, the first that of the rows.
        codec: what makes inner chunks smaller.
    """

    name: str
    shape: tuple[int, ...]
    chunk_rows: int
    shard_rows: int
    dtype: np.dtype[Any]
    dimensions: tuple[str, ...]
    codec: StorageCodec = "none"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row without checksum."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one inner chunk without checksum."""
        return self.chunk_rows * self.row_bytes

    @property
    def largest_chunk(self) -> int:
        """Most bytes that an inner chunk takes in its file, checksum included; without a codec, all take so many."""
        size = self.chunk_bytes if self.codec == "none" else largest_encoded(self.chunk_bytes)
        return size + CHECKSUM_BYTES

    @property
    def shard_chunks(self) -> int:
        """Inner chunks of one shard, written or not."""
        return self.chunks(self.shard_rows)

    @property
    def index_bytes(self) -> int:
        """Bytes of the shard index at the end of a shard file, checksum included."""
        return 16 * self.shard_chunks + CHECKSUM_BYTES

    def chunks(self, rows: int) -> int:
        """Inner chunks that hold `rows` rows."""
        return -(-rows // self.chunk_rows)

    def shard_bytes(self, rows: int) -> int:
        """Most bytes of a shard file with `rows` rows at its front; without a codec, just so many."""
        return self.chunks(rows) * self.largest_chunk + self.index_bytes

    def add_to(self, hierarchy: Hierarchy) -> None:
        """Add the array's metadata; its values are in files that `cache.writing.shard` writes."""
        hierarchy.add_array(
            self.name,
            self.shape,
            self.dtype,
            self.dimensions,
            chunk=(self.chunk_rows, *self.row_shape),
            shard=(self.shard_rows, *self.row_shape),
            codec=self.codec,
            attributes={"stored_dtype": "bfloat16"} if self.dtype == np.uint16 else {},
        )

    def shard_file(self, shard: int) -> str:
        """Path of a shard file inside the cache folder."""
        return f"{self.name}/c." + ".".join([str(shard)] + ["0"] * len(self.row_shape))


def sharded_layouts(manifest: Manifest) -> dict[str, ShardedLayout]:
    """The sharded arrays of a cache by name, in the order in which a shard is written.

    Text comes before vision, and tokens last, so that the largest file of a shard is the last.
    """
    last = manifest.caption_range(manifest.shards - 1)
    tokens = -(-manifest.caption_capacity * manifest.context_length // TOKEN_CHUNK) * TOKEN_CHUNK
    sizes = {
        "shard": manifest.shards,
        "image": manifest.images,
        "caption": last.start + max(1, len(last)),
        "token": manifest.shards * tokens,
        "patch": manifest.patches,
        "embedding": manifest.embedding,
    }
    channels = {"vision": manifest.vision_channels, "text": manifest.text_channels}
    rows = {
        "shard": (1, 1),
        "image": (1, manifest.shard_images),
        "caption": (1, manifest.caption_capacity),
        "token": (TOKEN_CHUNK, tokens),
    }

    def layout(
        name: str, dtype: np.dtype[Any], *dimensions: str, codec: StorageCodec = "none"
    ) -> ShardedLayout:
        of_all = {**sizes, "channel": channels[name.split("/", maxsplit=1)[0]]}
        shape = tuple(of_all[dimension] for dimension in dimensions)
        return ShardedLayout(name, shape, *rows[dimensions[0]], dtype, dimensions, codec)

    def of_tokens(side: str, *dimensions: str) -> Iterator[ShardedLayout]:
        if manifest.storage_dtype == "int8":  # what they are decoded with
            yield layout(f"{side}/token_scale", np.dtype("<f2"), *dimensions)
            for moment in ("channel_mean", "channel_std"):
                yield layout(f"{side}/{moment}", np.dtype("<f4"), "shard", "channel")
        dtype = TOKEN_DTYPE[manifest.storage_dtype]
        yield layout(f"{side}/tokens", dtype, *dimensions, "channel", codec=manifest.codec)

    pooled = POOLED_DTYPE[manifest.storage_dtype]
    arrays = [
        layout("text/token_ids", np.dtype("<i8"), "token"),
        layout("text/pooled", pooled, "caption", "embedding"),
        *of_tokens("text", "token"),
        layout("vision/pooled", pooled, "image", "embedding"),
        *of_tokens("vision", "image", "patch"),
    ]
    return {array.name: array for array in arrays}


def array_hierarchy(manifest: Manifest) -> Hierarchy:
    """The metadata of the large arrays and of the two groups they are in."""
    return Hierarchy(_array_documents(tuple(sharded_layouts(manifest).values())))


@functools.lru_cache(maxsize=16)
def _array_documents(layouts: tuple[ShardedLayout, ...]) -> Mapping[str, bytes]:
    """The metadata of arrays and of the groups above them; a cache that is written needs it three times."""
    hierarchy = Hierarchy()
    for layout in layouts:
        layout.add_to(hierarchy)
    return hierarchy.members


def check_arrays(path: Location, manifest: Manifest) -> None:
    """Check that the metadata of the cache at `path` describes exactly the large arrays that its manifest implies.

    Raises:
        CacheFormatError: naming the first array and key that differ.
        CacheCorruptError: the metadata of an array is missing.
        CacheAccessError: it cannot be read.
    """
    hierarchy = array_hierarchy(manifest)
    expected = hierarchy.members
    for name in sharded_layouts(manifest):
        where = path / name / DOCUMENT
        try:
            content = read_whole(where, DOCUMENT_BYTES)
            if content == expected[f"{name}/{DOCUMENT}"]:
                continue
            said, implied = Hierarchy({DOCUMENT: content}).metadata(), hierarchy.metadata(name)
        except OSError as error:
            raise unreadable(where, error) from None
        except ValueError as error:
            raise CacheFormatError(f"{where}: cannot be read as array metadata ({error})") from None
        for key, value in implied.items():
            if said.get(key) != value:
                raise CacheFormatError(
                    f"{where}: {key} is {shown_value(said.get(key))}, the manifest implies {shown_value(value)}"
                )
