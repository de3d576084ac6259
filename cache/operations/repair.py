"""Repairing what describes a damaged cache, so that only the shards that are really lost are written again."""

from collections.abc import Callable
from pathlib import Path

from cache.errors import CacheCorruptError, CacheFormatError
from cache.files.durable import file_written
from cache.format.layout import LEDGER_FILE, ROOT_FILE, SAMPLES_FILE
from cache.format.ledger import LEDGER_SCHEMA, ShardRecord, completed, read_records
from cache.format.manifest import Manifest, refuse_other_identity
from cache.format.root import Completion, read_manifest, read_root, write_root
from cache.format.samples import SAMPLES_SCHEMA
from cache.operations.file_check import check_parquet_file
from cache.operations.rebuild import rebuilt_records
from cache.operations.verification import Verification
from cache.operations.verify import verify
from cache.writing.budget import failed_preparation_is_reported
from cache.writing.resume import make_incomplete


def repair_records(path: Path, found: Verification, expected: Callable[[], Manifest]) -> list[int]:
    """Restore the root and the ledger of a damaged cache, and tell which shards have to be written again.

    Writing those with `CacheWriter.reopen`, and finishing, then repairs everything: all other files follow from the
    shards. The root is made anew from ledger and samples, the records of a lost ledger from the shard files, each by
    itself. Of `samples.parquet` what passes its checksums is kept. What cannot be restored is lost with its shards, at
    worst with all of them. Whatever ends this early leaves what it can be begun with again.

    Args:
        path: folder of the cache, whose lock the caller holds.
        found: what `verify` found.
        expected: makes the manifest that the cache should have; called if the root has lost its own, or if shards have
            to be written again.

    Raises:
        CacheIdentityError: shards are lost, and the cache is of another identity than expected; names both values of
            every key that differs.
        CacheFormatError: the root has lost its manifest, and the expected one is not it; or a folder is in the place of
            a file.
        DiskSpaceError, CacheError: it cannot be written.
    """
    for problem in found.problems:
        if not problem.foreign and (path / problem.file).is_dir():
            raise CacheFormatError(
                f"{path / problem.file}: is a folder where a file belongs; move it away and repair again"
            )
    if found.concerns(ROOT_FILE) and not _is_sound_root(path):
        with failed_preparation_is_reported(path):
            _restore_root(path, read_manifest(path) or expected())
        found = verify(path)
    manifest, completion = read_root(path)
    samples_are_lost = any(
        problem.file == SAMPLES_FILE and problem.shard is None for problem in found.problems
    )
    rebuilt: dict[int, ShardRecord] | None = None
    if samples_are_lost:
        sound = set()
    elif completion is not None and found.concerns(LEDGER_FILE):
        rebuilt = rebuilt_records(path, manifest, completion)
        sound = set(rebuilt)
    else:
        sound = set(range(manifest.shards)) - {problem.shard for problem in found.problems}
    lost = [shard for shard in range(manifest.shards) if shard not in sound]
    if lost or found.unwritten:
        refuse_other_identity(
            manifest.to_json(),
            expected().to_json(),
            str(path),
            "what is lost can only be encoded again from what it was encoded from",
        )
    if rebuilt is not None:
        with failed_preparation_is_reported(path):
            make_incomplete(path, manifest, rebuilt)
    return lost


def _is_sound_root(path: Path) -> bool:
    try:
        read_root(path)
    except (CacheFormatError, CacheCorruptError):
        return False
    return True


def _restore_root(path: Path, manifest: Manifest) -> None:
    """Write the root of a cache anew, as complete if ledger and samples are sound by their own checksums.

    What it says of the positions of the captions is left to finishing.

    Raises:
        CacheFormatError: the ledger is of another manifest.
    """
    completion = None
    schemas = {LEDGER_FILE: LEDGER_SCHEMA, SAMPLES_FILE: SAMPLES_SCHEMA}
    if not any(check_parquet_file(path / name, schemas[name], manifest.shards, None) for name in schemas):
        files = {name: file_written(path / name) for name in schemas}
        records = read_records(path, Completion({}, files, ()))
        if any(record.manifest_sha256 != manifest.sha256 for record in records):
            raise CacheFormatError(
                f"{path / ROOT_FILE}: the manifest is lost, and the expected one, SHA-256 {manifest.sha256}, is not "
                f"the one that the ledger belongs to, {records[0].manifest_sha256}"
            )
        completion = completed(records, files)
    write_root(path, manifest, completion)
