"""A folder that somebody else made costs a stated amount of memory, keeps nobody waiting, and ends in one line."""

import dataclasses
import itertools
import json
import os
import shutil
import socket
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache import ActivationCache, CacheCorruptError, CacheError, CacheFormatError, CacheWriter, Manifest
from cache.files.durable import file_written, write_durably
from cache.files.location import DOCUMENT_BYTES
from cache.format.hierarchy import Hierarchy
from cache.format.layout import LEDGER_FILE, SAMPLES_FILE
from cache.format.ledger import LEDGER_SCHEMA
from cache.format.manifest import canonical_sha256
from cache.format.root import read_root, root_attributes
from cache.format.samples import SAMPLES_SCHEMA, write_samples
from cache.operations import cache_info, verify

FILES = [
    "zarr.json",
    "vision/tokens/zarr.json",
    "vision/tokens/c.0.0.0",
    "text/starts/c.0",
    LEDGER_FILE,
    SAMPLES_FILE,
]
HOLE = 1 << 40
ABSURD = 10**18


def pipe(file):
    os.mkfifo(file)


def unix_socket(file):
    folder = os.open(file.parent, os.O_RDONLY)  # the path of a socket may have 107 characters
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{file.name}")
    os.close(folder)


def endless_device(file):
    file.symlink_to("/dev/zero")


def folder(file):
    file.mkdir()


def link_to_itself(file):
    file.symlink_to(file.name)


def hole(file):
    with file.open("wb") as opened:
        opened.truncate(HOLE)


KINDS = [pipe, unix_socket, endless_device, folder, link_to_itself, hole]


def read_everything(path):
    with ActivationCache.open(path) as cache:
        cache.read_pairs(np.arange(cache.pairs))
        return cache.statistics, cache.samples


def refused(action, path, kind=CacheError):
    """The one line that an action on the cache at `path` ends in, having taken little memory."""
    tracemalloc.start()
    with pytest.raises(kind) as raised:
        action(path)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 2 * DOCUMENT_BYTES
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert not any(ord(character) < 32 for character in message)
    return message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_a_cache_is_refused_and_verification_names_it(path, name, kind):
    (path / name).unlink()
    kind(path / name)
    assert name in refused(read_everything, path) or name == "zarr.json"
    assert name in {problem.file for problem in verify(path).problems}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", ["000001.json", "000001.samples.parquet"])
def test_a_record_that_is_no_file_makes_its_shard_uncommitted(path, example, name, kind):
    shutil.rmtree(path)
    with CacheWriter.open(path, example.manifest) as writer:
        for shard in range(2):
            writer.write_shard(shard, *example.shard(shard))
    (path / "ledger" / name).unlink()
    kind(path / "ledger" / name)
    assert cache_info(path).committed in (1, 2)
    if kind is not folder:  # no writer deletes what may hold a user's files
        with CacheWriter.open(path, example.manifest) as writer:
            assert writer.missing_shards == [1, 2]


def test_nothing_is_written_through_a_link_that_lies_where_a_file_is_to_be_written(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "new.partial").symlink_to(precious)
    write_durably(tmp_path / "new", b"content")
    os.mkfifo(tmp_path / "newer.partial")
    write_durably(tmp_path / "newer", b"content")
    assert precious.read_text() == "kept"
    assert (tmp_path / "new").read_bytes() == (tmp_path / "newer").read_bytes() == b"content"


def with_root(path, **files):
    """Make the root agree with changed tables, as whoever made the cache would."""
    manifest, completion = read_root(path)
    written = {**completion.files, **{name: file_written(path / name) for name in files}}
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"] = root_attributes(manifest, dataclasses.replace(completion, files=written))
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "content",
    [
        '{"attributes": ' + "[" * 10**6,
        '{"attributes": {"format": "' + "x" * 10**6 + '"}}',
        '{"attributes": {"format": "\\u001b]0;title\\u0007\\u202e"}}',
        '{"attributes": {"format": "concord-activation-cache", "version": ' + "9" * 4000 + "}}",
        '{"attributes": {"format": "concord-activation-cache", "version": ' + "9" * 10**5 + "}}",
        '{"attributes": {"format": "concord-activation-cache", "version": {"a": ' + "[1]," * 9 + "[1]}}}",
        '{"attributes": []}',
        '{"attributes": {"format": ' + '{"a":' * 900 + "1" + "}" * 902,
        "\xff\xfe",
        "[]",
        "",
    ],
    ids=lambda content: content[:50],
)
def test_any_document_as_root_is_refused_in_one_short_line(path, content):
    (path / "zarr.json").write_text(content, encoding="utf-16" if content.startswith("\xff") else "utf-8")
    refused(ActivationCache.open, path)


@pytest.mark.parametrize(
    "claim",
    [
        {"patches": ABSURD, "grid": (1, ABSURD)},
        {"vision_channels": ABSURD},
        {"text_channels": ABSURD},
        {"embedding": ABSURD},
        {"context_length": ABSURD},
        {"images": ABSURD, "captions": ABSURD, "shard_images": ABSURD, "shard_captions": (ABSURD,)},
        {"captions": ABSURD, "shard_captions": (ABSURD, 0, 0)},
    ],
    ids=lambda claim: next(iter(claim)),
)
def test_a_manifest_of_absurd_sizes_is_refused(example, claim):
    with pytest.raises(CacheFormatError, match=r"000000 .* at most"):
        Manifest.from_json({**example.manifest.to_json(), **claim}, "here")


def repeated_caption(table, times):
    """A table of `times` rows with one caption of a megabyte."""
    captions = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(times, np.int32)), pa.array(["a" * (1 << 20)], pa.string())
    )
    rows = table.slice(0, 1).take(pa.array(np.zeros(times, np.int64)))
    return rows.set_column(rows.schema.get_field_index("caption"), "caption", captions)


def test_a_table_that_unpacks_to_gigabytes_is_refused_before_it_fills_the_memory(path):
    table = pq.read_table(path / SAMPLES_FILE)
    bomb = repeated_caption(table, 20_000)  # 20 GB
    pq.write_table(bomb, path / SAMPLES_FILE, compression="zstd", store_schema=False, row_group_size=6667)
    assert (path / SAMPLES_FILE).stat().st_size < 10**6
    assert any("fails" in found.problem for found in verify(path).problems), "it does not unpack it either"
    with_root(path, **{SAMPLES_FILE: True})
    with ActivationCache.open(path) as cache, pytest.raises(CacheCorruptError, match="unpack to more than"):
        _ = cache.samples


@pytest.mark.parametrize(
    ("column", "number"),
    [
        *itertools.product(["pair", "image_row", "caption_row"], [-1, ABSURD]),
        ("caption_row", None),
        ("image_row", 9),  # of another shard
    ],
)
def test_rows_that_the_arrays_do_not_have_are_refused(path, column, number):
    written = pq.ParquetFile(path / SAMPLES_FILE)
    groups = [written.metadata.row_group(group).num_rows for group in range(written.num_row_groups)]
    table = written.read()
    numbers = table[column].to_pylist()
    numbers[0] = number
    position = SAMPLES_SCHEMA.get_field_index(column)
    changed = table.set_column(position, SAMPLES_SCHEMA.field(position), pa.array(numbers, pa.int64()))
    starts = np.cumsum([0, *groups[:-1]])
    write_samples(path / SAMPLES_FILE, map(changed.slice, starts.tolist(), groups))
    with_root(path, **{SAMPLES_FILE: True})
    refused(read_everything, path, CacheFormatError)
    assert not verify(path).sound


@pytest.mark.parametrize("name", ["text/starts", "text/lengths"])
@pytest.mark.parametrize("number", [-1, ABSURD])
def test_positions_that_the_arrays_do_not_have_are_refused(path, name, number):
    with ActivationCache.open(path) as cache:
        numbers = cache.caption_starts.copy()
    numbers[0] = number
    hierarchy = Hierarchy()
    hierarchy.add_values(name, numbers, "caption")
    (path / name / "c.0").write_bytes(hierarchy.members[f"{name}/c.0"])
    with_root(path, **{f"{name}/c.0": True})
    refused(read_everything, path, CacheFormatError)


def changed_ledger(path, change):
    """Change the first row of the ledger, as whoever made the cache would."""
    rows = pq.read_table(path / LEDGER_FILE).to_pylist()
    change(rows[0])
    nullable = pa.schema([field.with_nullable(True) for field in LEDGER_SCHEMA])
    pq.write_table(pa.Table.from_pylist(rows, nullable), path / LEDGER_FILE, row_group_size=1)
    with_root(path, **{LEDGER_FILE: True})


LEDGER_CHANGES = {
    "no count": lambda row: row.update(images=None),
    "no files": lambda row: row.update(files=None),
    "a file that is none": lambda row: row.update(files=[None, *row["files"]]),
    "a file without a size": lambda row: row["files"][0].update(bytes=None),
    "no statistics": lambda row: row.update(vision=None),
    "no mean": lambda row: row["vision"].update(mean=None),
    "a mean without a number": lambda row: row["text"]["mean"].__setitem__(0, None),
    "a mean that is not finite": lambda row: row["text"]["mean"].__setitem__(0, float("nan")),
    "too few means": lambda row: row["vision"].update(mean=[]),
    "too few deviations": lambda row: row["vision"]["squared_deviation"].pop(),
    "a deviation below zero": lambda row: row["vision"]["squared_deviation"].__setitem__(0, -1.0),
    "too few bins": lambda row: row["vision"]["norm_bins"].pop(),
    "a bin of no norm": lambda row: row["vision"]["norm_bins"].__setitem__(0, 1 << 60),
    "fewer norms than tokens": lambda row: row["vision"].update(count=10**18),
    "half a checksum": lambda row: row["files"][0].update(crc32c=row["files"][0]["crc32c"] + b"x"),
}


@pytest.mark.parametrize("change", LEDGER_CHANGES.values(), ids=LEDGER_CHANGES.keys())
def test_a_ledger_that_nobody_can_compute_with_is_refused(path, change):
    changed_ledger(path, change)
    refused(read_everything, path, (CacheFormatError, CacheCorruptError))
    verify(path)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a\0b", "a" * 5000])
def test_files_that_the_format_does_not_have_are_not_looked_at(path, name):
    changed_ledger(path, lambda row: row["files"].append({**row["files"][0], "path": name}))
    read_everything(path)
    assert not verify(path).sound


@pytest.mark.parametrize("size", [None, "1", -1, 1.5, 10**4000, [], {}])
def test_a_root_that_records_no_size_is_refused(path, size):
    document = json.loads((path / "zarr.json").read_text())
    del document["attributes"]["attributes_sha256"]
    document["attributes"]["files"][SAMPLES_FILE]["bytes"] = size
    document["attributes"]["attributes_sha256"] = canonical_sha256(document["attributes"])
    (path / "zarr.json").write_text(json.dumps(document))
    refused(read_everything, path, CacheFormatError)
    refused(cache_info, path, CacheFormatError)


def test_text_that_is_not_utf_8_is_refused(path):
    table = pq.read_table(path / SAMPLES_FILE)
    content = pa.array([b"\xff\xfe"] * len(table), pa.binary())
    captions = pa.Array.from_buffers(pa.string(), len(content), content.buffers())
    position = SAMPLES_SCHEMA.get_field_index("caption")
    pq.write_table(table.set_column(position, SAMPLES_SCHEMA.field(position), captions), path / SAMPLES_FILE)
    with_root(path, **{SAMPLES_FILE: True})
    refused(lambda path: ActivationCache.open(path).samples, path, CacheCorruptError)
