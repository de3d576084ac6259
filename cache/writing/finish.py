"""The last step of writing: what can only be known when every shard is there."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from cache.files.durable import content_written, write_all_durably
from cache.format.derived import CAPTION_COLUMNS, add_position_means, consolidate_groups, derived
from cache.format.layout import LEDGER_FILE, POSITION_FILES, POSITION_MEANS_FILES, SAMPLES_FILE
from cache.format.ledger import ShardRecord, completed, shard_samples_name, write_ledger
from cache.format.manifest import Manifest
from cache.format.position_means import PositionMeans
from cache.format.root import Completion, write_root
from cache.format.samples import number_pairs, read_samples, write_samples
from cache.reading.prefetch import prefetched
from cache.reading.reader import ActivationCache


def finish_cache(path: Path, manifest: Manifest, records: Mapping[int, ShardRecord]) -> None:
    """Write samples, caption positions, statistics and ledger, then mark the cache complete.

    For the means by position all tokens are read once more. Every step replaces what an interrupted earlier attempt
    left; the last one, the group document, is atomic.
    """
    ordered = [records[shard] for shard in range(manifest.shards)]
    files = {SAMPLES_FILE: write_samples(path / SAMPLES_FILE, _numbered_samples(path, ordered))}
    captions = read_samples(path / SAMPLES_FILE, files[SAMPLES_FILE], CAPTION_COLUMNS)
    shutil.rmtree(path / "statistics", ignore_errors=True)
    follows = derived(manifest, ordered, captions)
    positions = {name: follows.members[name] for name in POSITION_FILES}
    write_all_durably({path / name: content for name, content in positions.items()})
    files |= {name: content_written(content) for name, content in positions.items()}
    files[LEDGER_FILE] = write_ledger(path / LEDGER_FILE, ordered)
    add_position_means(follows, _position_means(path, manifest, completed(ordered, files), records))
    consolidate_groups(follows)
    members = follows.members
    write_all_durably({path / name: content for name, content in members.items() if name not in positions})
    files |= {name: content_written(members[name]) for name in POSITION_MEANS_FILES}
    write_root(path, manifest, completed(ordered, files), follows)


def _position_means(
    path: Path, manifest: Manifest, completion: Completion, records: Mapping[int, ShardRecord]
) -> dict[str, PositionMeans]:
    checksums = {name: file.crc32c for record in records.values() for name, file in record.files.items()}
    with ActivationCache(path, manifest, completion, checksums) as cache:
        return cache.position_means


def _numbered_samples(path: Path, records: list[ShardRecord]) -> Iterator[pa.Table]:
    """The samples of all shards, the next one's read while one is written."""

    def read(record: ShardRecord) -> pa.Table:
        name = shard_samples_name(record.shard)
        return read_samples(path / name, record.samples)

    first = 0
    for record, table in zip(records, prefetched(read, records, depth=1), strict=True):
        yield number_pairs(table, first)
        first += record.pairs
