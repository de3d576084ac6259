"""Which arrays a cache has, and their shapes, chunks and shards: everything follows from the manifest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.storage import LocalStore

from cache.consolidated import group_document
from cache.durable import write_durably
from cache.errors import CacheFormatError, CacheMissingError
from cache.manifest import FORMAT, VERSION, Manifest

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


def write_root(path: Path, manifest: Manifest, totals: dict[str, int] | None) -> None:
    """Write the group document atomically; `totals` is None until every shard is committed."""
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "complete": totals is not None,
        **({"totals": totals} if totals is not None else {}),
        "manifest": manifest.to_json(),
        "manifest_sha256": manifest.sha256,
    }
    write_durably(path / "zarr.json", group_document(path, attributes))


def read_root(path: Path) -> tuple[Manifest, dict[str, int] | None]:
    """Manifest and totals of the cache at `path`; totals is None while the cache is incomplete.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: something else is there, another format version, or an edited manifest.
    """
    if not path.exists():
        raise CacheMissingError(f"{path}: no such cache; write it first with `concord encode`")
    where = path / "zarr.json"
    try:
        attributes = json.loads(where.read_bytes())["attributes"]
        if attributes["format"] != FORMAT:
            raise CacheFormatError(
                f"{where}: a Zarr group of format {attributes['format']!r}, not {FORMAT!r}"
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheFormatError(f"{path}: not an activation cache ({_reason(error)})") from None
    if attributes.get("version") != VERSION:
        raise CacheFormatError(
            f"{where}: format version {attributes.get('version')!r}, and this software reads version {VERSION}; "
            "use the release that wrote it"
        )
    manifest = Manifest.from_json(attributes.get("manifest"), str(where))
    if attributes.get("manifest_sha256") != manifest.sha256:
        raise CacheFormatError(
            f"{where}: the manifest was edited: its SHA-256 is {manifest.sha256}, "
            f"recorded is {attributes.get('manifest_sha256')}; restore the file or encode again"
        )
    return manifest, attributes.get("totals") if attributes.get("complete") is True else None


def create_arrays(path: Path, manifest: Manifest) -> None:
    """Create the metadata of the sharded arrays that do not exist yet in the group at `path`."""
    store = LocalStore(path)
    for group in ("vision", "text"):
        zarr.open_group(store, path=group, mode="a", zarr_format=3)
    for layout in sharded_layouts(manifest).values():
        if (path / layout.name / "zarr.json").exists():
            continue
        zarr.create_array(
            store,
            name=layout.name,
            shape=layout.shape,
            chunks=(layout.chunk_rows, *layout.row_shape),
            shards=(layout.shard_rows, *layout.row_shape),
            dtype=layout.dtype,
            filters=None,
            serializer=BytesCodec(endian="little"),
            compressors=[Crc32cCodec()],
            fill_value=0,
            chunk_key_encoding={"name": "default", "separator": "."},
            dimension_names=layout.dimensions,
            config={"write_empty_chunks": True},
        )


def check_arrays(path: Path, manifest: Manifest) -> None:
    """Check that the metadata on disk describes exactly the arrays that the manifest implies.

    Raises:
        CacheFormatError: naming the first array and key that differ.
    """
    for layout in sharded_layouts(manifest).values():
        where = path / layout.name / "zarr.json"
        try:
            found = json.loads(where.read_bytes())
        except (OSError, ValueError) as error:
            raise CacheFormatError(f"{where}: cannot be read as array metadata ({_reason(error)})") from None
        for key, expected in _array_metadata(layout).items():
            value = found.get(key) if isinstance(found, dict) else None
            if value != expected:
                raise CacheFormatError(f"{where}: {key} is {value!r}, the manifest implies {expected!r}")


def _array_metadata(layout: ShardedLayout) -> dict[str, Any]:
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(layout.shape),
        "data_type": layout.dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [layout.shard_rows, *layout.row_shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [layout.chunk_rows, *layout.row_shape],
                    "codecs": codecs,
                    "index_codecs": codecs,
                    "index_location": "end",
                },
            }
        ],
        "dimension_names": list(layout.dimensions),
    }


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"{type(error).__name__}: {error}"
