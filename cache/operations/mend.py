"""Mending what describes a damaged cache, so that only the shards that are really lost are written again."""

from collections.abc import Callable
from pathlib import Path

from cache.errors import CacheCorruptError, CacheFormatError
from cache.files.durable import file_written
from cache.format.layout import LEDGER_FILE, ROOT_FILE, SAMPLES_FILE
from cache.format.ledger import LEDGER_SCHEMA, read_records
from cache.format.manifest import Manifest, refuse_other_identity
from cache.format.root import TOTALS, Completion, read_manifest, read_root, write_root
from cache.format.samples import SAMPLES_SCHEMA
from cache.operations.file_check import check_parquet_file
from cache.operations.rebuild import rebuild_ledger
from cache.operations.verification import Verification
from cache.operations.verify import verify


def mend(path: Path, found: Verification, expected: Callable[[], Manifest]) -> list[int]:
    """Restore the root and the ledger of a damaged cache, and tell which shards have to be written again.

    Writing those with `CacheWriter.reopen`, and finishing, then repairs everything: all other files follow from the
    shards. The root is made anew from ledger and samples, the ledger from the shard files. Of `samples.parquet` what
    passes its checksums is kept. What cannot be restored is lost with its shards, at worst with all of them.

    Args:
        path: folder of the cache.
        found: what `verify` found.
        expected: makes the manifest that the cache should have; called if the root has lost its own, or if shards have
            to be written again.

    Raises:
        CacheIdentityError: shards are lost, and the cache is of another identity than expected; names both values of
            every key that differs.
        CacheFormatError: the root has lost its manifest, and the expected one is not it; or a folder is in the place of
            a file.
    """
    for problem in found.problems:
        if not problem.foreign and (path / problem.file).is_dir():
            raise CacheFormatError(
                f"{path / problem.file}: is a folder where a file belongs; move it away and repair again"
            )
    if found.concerns(ROOT_FILE) and not _is_sound_root(path):
        _restore_root(path, read_manifest(path) or expected())
        found = verify(path)
    manifest, _ = read_root(path)
    lost = _lost_shards(path, found, manifest)
    if lost or found.unwritten:
        refuse_other_identity(
            manifest.to_json(),
            expected().to_json(),
            str(path),
            "what is lost can only be encoded again from what it was encoded from",
        )
    return lost


def _lost_shards(path: Path, found: Verification, manifest: Manifest) -> list[int]:
    samples_are_lost = any(
        problem.file == SAMPLES_FILE and problem.shard is None for problem in found.problems
    )
    if samples_are_lost or (found.concerns(LEDGER_FILE) and not rebuild_ledger(path)):
        return list(range(manifest.shards))
    shards = {problem.shard for problem in found.problems if problem.file != LEDGER_FILE}
    return sorted(shard for shard in shards if shard is not None)


def _is_sound_root(path: Path) -> bool:
    try:
        read_root(path)
    except (CacheFormatError, CacheCorruptError):
        return False
    return True


def _restore_root(path: Path, manifest: Manifest) -> None:
    """Write the root of a cache anew, as complete if ledger and samples are sound by their own checksums.

    Raises:
        CacheFormatError: the ledger is of another manifest.
    """
    completion = None
    schemas = {LEDGER_FILE: LEDGER_SCHEMA, SAMPLES_FILE: SAMPLES_SCHEMA}
    if not any(check_parquet_file(path / name, schemas[name], manifest.shards, None) for name in schemas):
        completion = Completion({}, {name: file_written(path / name) for name in schemas})
        records = read_records(path, completion)
        if any(record.manifest_sha256 != manifest.sha256 for record in records):
            raise CacheFormatError(
                f"{path / ROOT_FILE}: the manifest is lost, and the expected one, SHA-256 {manifest.sha256}, is not "
                f"the one that the ledger belongs to, {records[0].manifest_sha256}"
            )
        totals = {name: sum(getattr(record, name) for record in records) for name in TOTALS}
        completion = Completion(totals, completion.files)
    write_root(path, manifest, completion)
