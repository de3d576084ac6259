"""What a cache on disk should hold, as far as its own records tell, and what is wrong with these records.

Trust runs from the root down: `zarr.json` carries its own hash and those of `ledger.parquet` and `samples.parquet`, the
ledger has the hash of every shard file, and all other files follow from these and are made again in memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cache.errors import CacheAccessError, CacheCorruptError, CacheFormatError, CacheVersionError
from cache.files.durable import PARTIAL_SUFFIX, WrittenFile, content_written, file_written, is_as_written
from cache.files.location import DOCUMENT_BYTES, read_whole
from cache.format.derived import CAPTION_COLUMNS, add_position_means, consolidate_groups, derived
from cache.format.hierarchy import DOCUMENT, same_metadata
from cache.format.layout import (
    LEDGER_FILE,
    LEDGER_FOLDER,
    POSITION_FILES,
    POSITION_MEANS_FILES,
    ROOT_FILE,
    SAMPLES_FILE,
    ShardedLayout,
    sharded_layouts,
)
from cache.format.ledger import (
    LEDGER_SCHEMA,
    ShardFile,
    ShardRecord,
    completed,
    read_record,
    read_records,
    record_path,
    shard_samples_name,
)
from cache.format.manifest import Manifest
from cache.format.position_means import PositionMeans
from cache.format.root import Completion, read_manifest, read_root, root_attributes
from cache.format.samples import SAMPLES_SCHEMA, read_samples
from cache.operations.file_check import Damage, check_parquet_file
from cache.operations.touched import PairLocator
from cache.operations.verification import Problem
from cache.reading.tables import CacheTables


class CommittedFile(NamedTuple):
    """One file of a committed shard; `expected` is None if nothing tells what it should be."""

    shard: int
    layout: ShardedLayout
    expected: ShardFile | None

    @property
    def name(self) -> str:
        """Path inside the cache."""
        return self.layout.shard_file(self.shard)


@dataclass(frozen=True)
class Contents:
    """What a cache should hold.

    Attributes:
        problems: what is wrong with all files but those of the shards.
        checked: how many files that is said of.
        shard_files: the files of the committed shards, still to be checked.
        unwritten: numbers of the shards that are not committed.
        finished: whether the cache is complete, or would be but for the problems.
        pairs: finds the pairs of a part of a shard.
    """

    problems: list[Problem]
    checked: int
    shard_files: list[CommittedFile]
    unwritten: tuple[int, ...]
    finished: bool
    pairs: PairLocator


def contents_of(path: Path) -> Contents | Problem:
    """What the cache at `path` should hold; or, if not even that can be known, the problem.

    Raises:
        CacheMissingError: nothing is at `path`.
        CacheFormatError: what is there is not an activation cache, or one of another version.
    """
    try:
        manifest, completion = read_root(path)
    except CacheVersionError:
        raise
    except (CacheFormatError, CacheCorruptError) as error:
        if not any((path / name).exists() for name in (LEDGER_FILE, LEDGER_FOLDER)):
            raise
        problem = Problem(ROOT_FILE, f"is damaged ({error})")
        manifest_alone = read_manifest(path)
        if manifest_alone is None:
            return problem
        complete = (path / LEDGER_FILE).exists()
        contents = _complete(path, manifest_alone, None) if complete else _unfinished(path, manifest_alone)
        contents.problems.insert(0, problem)
        return contents
    return _unfinished(path, manifest) if completion is None else _complete(path, manifest, completion)


def _unfinished(path: Path, manifest: Manifest) -> Contents:
    """Of an unfinished cache the committed shards; the next writer sweeps away what an interrupted one left."""
    records: dict[int, ShardRecord] = {}
    problems = []
    for shard in range(manifest.shards):
        try:
            record = read_record(path, manifest, shard)
        except (CacheCorruptError, CacheAccessError) as error:
            file = record_path(path, shard)
            told = str(error).removeprefix(f"{file}: ")
            problems.append(Problem(file.relative_to(path).as_posix(), told, shard))
        else:
            records |= {} if record is None else {shard: record}
    pairs = PairLocator(path, records, complete=False)
    for shard, record in records.items():
        name = shard_samples_name(shard)
        damage = check_parquet_file(path / name, SAMPLES_SCHEMA, 1, record.samples)
        if damage is not None:
            problems.append(Problem(name, damage.problem, shard, pairs.touched(shard)))
    return Contents(
        problems,
        checked=1 + len(problems) + 2 * len(records),
        shard_files=_shard_files(manifest, records, records),
        unwritten=tuple(shard for shard in range(manifest.shards) if shard not in records),
        finished=False,
        pairs=pairs,
    )


def _complete(path: Path, manifest: Manifest, completion: Completion | None) -> Contents:
    """A complete cache; if `completion` is None because its root is damaged, by whatever else can be relied on."""
    recorded = completion.files if completion is not None else {}
    records, ledger_damage = _records(path, manifest, recorded.get(LEDGER_FILE))
    samples_damage = check_parquet_file(
        path / SAMPLES_FILE, SAMPLES_SCHEMA, manifest.shards, recorded.get(SAMPLES_FILE)
    )
    pairs = PairLocator(path, records, complete=True)
    problems = [
        *_parquet_problems(LEDGER_FILE, ledger_damage, pairs),
        *_parquet_problems(SAMPLES_FILE, samples_damage, pairs),
    ]
    shard_files = _shard_files(manifest, range(manifest.shards), records)
    known = {ROOT_FILE, LEDGER_FILE, SAMPLES_FILE, *(file.name for file in shard_files)}
    on_disk = {file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir()}
    expected: dict[str, bytes] = {}
    if not problems:
        try:
            expected = _following_files(path, manifest, completion, records)
        except CacheFormatError:
            problems.append(Problem(SAMPLES_FILE, "holds values that no samples can hold"))
    if problems:  # what follows from the damaged file cannot be made again, so only its names are known
        known |= {name for name in on_disk if name.endswith(("/zarr.json", "/c.0", *POSITION_MEANS_FILES))}
    else:
        known |= expected.keys()
        problems += _differences(path, expected, recorded)
    problems += _foreign(sorted(on_disk - known), manifest)
    return Contents(problems, len(known) - len(shard_files), shard_files, (), True, pairs)


def _records(
    path: Path, manifest: Manifest, recorded: WrittenFile | None
) -> tuple[dict[int, ShardRecord], Damage | None]:
    """The records of the ledger by shard, none if it is damaged, and the damage."""
    file = path / LEDGER_FILE
    damage = check_parquet_file(file, LEDGER_SCHEMA, manifest.shards, recorded)
    if damage is not None:
        return {}, damage
    try:
        records = dict(enumerate(read_records(path, Completion({}, {LEDGER_FILE: file_written(file)}, ()))))
    except CacheFormatError:
        return {}, Damage("holds values that no ledger can hold")
    if any((r.shard, r.manifest_sha256) != (shard, manifest.sha256) for shard, r in records.items()):
        return {}, Damage("belongs to another cache: it lists other shards, or those of another manifest")
    return records, None


def _shard_files(
    manifest: Manifest, shards: Iterable[int], records: Mapping[int, ShardRecord]
) -> list[CommittedFile]:
    layouts = sharded_layouts(manifest).values()
    known = {name: file for record in records.values() for name, file in record.files.items()}
    return [
        CommittedFile(shard, layout, known.get(layout.shard_file(shard)))
        for shard in shards
        for layout in layouts
    ]


def _parquet_problems(name: str, damage: Damage | None, pairs: PairLocator) -> Iterator[Problem]:
    """One problem for each shard whose row group is damaged, or one for the whole file."""
    if damage is not None and damage.parts is None:
        yield Problem(name, damage.problem)
    elif damage is not None:
        for shard in damage.parts or ():
            yield Problem(name, damage.problem, shard, pairs.touched(shard))


def _following_files(
    path: Path, manifest: Manifest, completion: Completion | None, records: Mapping[int, ShardRecord]
) -> dict[str, bytes]:
    """The content of every file that follows from ledger and samples, and of the root unless that is damaged."""
    captions = read_samples(path / SAMPLES_FILE, file_written(path / SAMPLES_FILE), CAPTION_COLUMNS)
    ordered = [records[shard] for shard in range(manifest.shards)]
    hierarchy = derived(manifest, ordered, captions)
    means = POSITION_MEANS_FILES if _has_position_means(path, completion) else ()
    if means:
        add_position_means(hierarchy, PositionMeans.none_of(manifest))
    consolidate_groups(hierarchy)
    files = hierarchy.members
    if completion is None:
        return files
    _ = CacheTables(
        path, manifest, completion
    ).sample_numbers  # which are refused unless the arrays have the rows
    positions = {name: content_written(files[name]) for name in POSITION_FILES}
    kept = (SAMPLES_FILE, LEDGER_FILE, *means)
    recorded = {name: completion.files[name] for name in kept if name in completion.files}
    attributes = root_attributes(manifest, completed(ordered, recorded | positions))
    return {**files, ROOT_FILE: hierarchy.root(attributes)}


def _has_position_means(path: Path, completion: Completion | None) -> bool:
    """Whether a cache has means by position, which those of an earlier release have not, or what is left of them."""
    recorded = completion.files if completion else {}
    return any(name in recorded or (path / name).exists() for name in POSITION_MEANS_FILES)


def _differences(
    path: Path, expected: Mapping[str, bytes], recorded: Mapping[str, WrittenFile]
) -> Iterator[Problem]:
    """What is not as expected; of means by position, which only reading all tokens would make anew, as recorded."""
    for name, content in expected.items():
        try:
            if name in POSITION_MEANS_FILES:
                if name in recorded and not is_as_written(path / name, recorded[name]):
                    yield Problem(name, "is not what was written")
                continue
            is_document = name.endswith(DOCUMENT)
            found = read_whole(path / name, DOCUMENT_BYTES if is_document else len(content))
            if not (same_metadata(found, content) if is_document else found == content):
                yield Problem(name, "is not what the shards imply")
        except FileNotFoundError:
            yield Problem(name, "is missing")
        except OSError as error:
            yield Problem(name, f"cannot be read ({error.strerror})")


def _foreign(names: list[str], manifest: Manifest) -> Iterator[Problem]:
    """What to say of files that a complete cache does not have."""
    arrays = tuple(f"{name}/c." for name in sharded_layouts(manifest))
    for name in names:
        if name.startswith((f"{LEDGER_FOLDER}/", *arrays)) or name.endswith(PARTIAL_SUFFIX):
            yield Problem(name, "does not belong there: it is left over from writing")
        else:
            yield Problem(name, "does not belong there: the format has no such file", foreign=True)
