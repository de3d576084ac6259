import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import (
    ActivationCache,
    CacheAccessError,
    CacheCorruptError,
    CacheError,
    CacheFormatError,
    CacheIdentityError,
    CacheMissingError,
    Manifest,
    PairLoader,
)
from cache.format.layout import LEDGER_FILE, array_hierarchy, sharded_layouts
from cache.format.ledger import ShardFile, read_records, write_ledger
from cache.format.manifest import canonical_sha256
from cache.format.root import Completion, read_root, root_attributes

LARGE = {"caption_counts": (1,) * 60, "undecodable": frozenset(), "shard_images": 20}


def read_everything(path):
    cache = ActivationCache.open(path)
    for name in ("tokens", "pooled"):
        cache.read_stored(f"vision/{name}", np.arange(cache.manifest.images))
    cache.read_rows("text/pooled", cache.samples["caption_row"].drop_null().to_numpy())
    cache.read_pairs(np.arange(cache.pairs))
    return cache.statistics


def edit(path, **attributes):
    """Change attributes of the group so that their checksum still holds."""
    document = json.loads((path / "zarr.json").read_text())
    changed = {**document["attributes"], **attributes}
    del changed["attributes_sha256"]
    document["attributes"] = {**changed, "attributes_sha256": canonical_sha256(changed)}
    (path / "zarr.json").write_text(json.dumps(document))


def test_a_missing_cache_is_named(tmp_path):
    with pytest.raises(CacheMissingError, match=r"no\.zarr"):
        ActivationCache.open(tmp_path / "no.zarr")


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(CacheFormatError, match="not an activation cache"):
        ActivationCache.open(tmp_path)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "a.zarr").write_text("")
    with pytest.raises(CacheFormatError, match=r"a\.zarr: is a file; an activation cache is a folder"):
        ActivationCache.open(tmp_path / "a.zarr")


@contextlib.contextmanager
def without_permission(cache, name):
    """A copy of the cache in which the file `name` may not be read; not by root either, who becomes somebody else."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which is closed to others
        path = Path(shutil.copytree(cache.path, Path(folder) / "copy.zarr"))
        (path / name).chmod(0)
        Path(folder).chmod(0o755)
        if user == 0:
            os.seteuid(65534)
        try:
            yield path
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("name", ["zarr.json", "text/tokens/zarr.json", "samples.parquet", "text/starts/c.0"])
def test_a_file_without_permission_is_not_called_damaged(cache, name):
    with (
        without_permission(cache, name) as path,
        pytest.raises(CacheAccessError, match=rf"{name}: cannot be read: Permission denied"),
    ):
        ActivationCache.open(path).read_pairs(np.arange(1))


def test_a_shard_without_permission_is_not_called_damaged(cache):
    name = "vision/tokens/c.1.0.0"
    with (
        without_permission(cache, name) as path,
        pytest.raises(
            CacheAccessError, match=rf"tokens shard 1 \({name}\): cannot be read: Permission denied"
        ),
    ):
        ActivationCache.open(path).read_pairs(np.arange(13))


@pytest.mark.parametrize("key", ["layer", "model"])
def test_another_layer_or_model_is_refused(example, path, key):
    with pytest.raises(CacheIdentityError, match=rf'backbone\.{key}: .*expected "other"'):
        ActivationCache.open(path, {**example.backbone, key: "other"})


def test_the_backbone_it_was_written_with_is_accepted(example, path):
    assert ActivationCache.open(path, dict(example.backbone)).pairs == 13


def test_another_backbone_is_refused_naming_both_values(example, path):
    other = {**example.backbone, "preprocessing": {"image_size": 224}}
    with pytest.raises(
        CacheIdentityError, match=r"backbone\.preprocessing\.image_size: .* has 8, expected 224"
    ):
        ActivationCache.open(path, other)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"version": 1}, "format version 1, and this software reads version 2; encode it again"),
        ({"version": 3}, "format version 3, and this software reads version 2; use the release"),
        ({"format": "other"}, "format 'other'"),
        ({"totals": {"images": 1}}, "totals, files or shards were edited"),
        ({"shards": ["0" * 64]}, "1 of 3 shards"),
        (
            {"totals": {"images": 11, "captions": 15, "tokens": 89, "pairs": 99, "skipped": 3}},
            "the shards have",
        ),
        ({"manifest": {}}, "manifest: "),
    ],
)
def test_edited_attributes_are_refused(path, attributes, message):
    edit(path, **attributes)
    with pytest.raises(CacheFormatError, match=message):
        ActivationCache.open(path)


def test_an_edited_manifest_is_refused(example, path):
    edit(path, manifest={**example.manifest.to_json(), "dataset": {"name": "another"}})
    with pytest.raises(CacheFormatError, match="the manifest was edited"):
        ActivationCache.open(path)


def test_edited_attributes_are_refused_even_if_they_make_sense(path):
    document = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(document.replace('"pairs": 13', '"pairs": 12'))
    with pytest.raises(CacheFormatError, match="the attributes were edited"):
        ActivationCache.open(path)


def test_array_metadata_of_another_dtype_is_refused(path):
    file = path / "vision/tokens/zarr.json"
    file.write_text(file.read_text().replace('"float16"', '"int16"'))
    with pytest.raises(CacheFormatError, match="data_type is 'int16', the manifest implies 'float16'"):
        ActivationCache.open(path)


def test_a_ledger_without_a_record_of_a_shard_is_refused(path):
    manifest, completion = read_root(path)
    written = write_ledger(path / LEDGER_FILE, read_records(path, completion)[:2])
    files = {**completion.files, LEDGER_FILE: written}
    attributes = root_attributes(manifest, dataclasses.replace(completion, files=files))
    edit(path, files=attributes["files"])
    with pytest.raises(CacheFormatError, match="does not list the 3 shards of this manifest"):
        ActivationCache.open(path)


HUGE = 1 << 24  # the most that is possible of most things
ABSURD = 10**15
FORGED = ["manifest", "array metadata", "ledger", "sizes in the ledger"]
CLAIMS = [
    {"images": HUGE, "captions": HUGE, "shard_images": HUGE, "shard_captions": [HUGE]},
    {"patches": HUGE, "grid": [1, HUGE]},
    {"vision_channels": HUGE},
    {"text_channels": HUGE},
    {"embedding": HUGE},
    {"context_length": HUGE},
    {"captions": HUGE + 10, "shard_captions": [HUGE, 5, 5]},
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: next(iter(claim)))
@pytest.mark.parametrize("forged", FORGED)
def test_a_manifest_that_claims_petabytes_is_refused_before_anything_is_allocated(path, claim, forged):
    forge(path, claim, FORGED.index(forged))
    tracemalloc.start()
    with pytest.raises((CacheCorruptError, CacheFormatError) if forged == FORGED[-1] else CacheFormatError):
        ActivationCache.open(path).read_pairs(np.arange(1))
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def forge(path, claim, depth):
    """Change the manifest and, the deeper the more, everything that would give the change away."""
    old, completion = read_root(path)
    manifest = Manifest.from_json({**old.to_json(), **claim}, "")
    totals, files = dict(completion.totals), dict(completion.files)
    if depth > 0:
        for name, content in array_hierarchy(manifest).members.items():
            (path / name).write_bytes(content)
    if depth > 1:
        records = [
            forged_record(record, manifest, depth > 2)
            for record in read_records(path, completion)[: manifest.shards]
        ]
        files[LEDGER_FILE] = write_ledger(path / LEDGER_FILE, records)
        totals = {name: sum(getattr(record, name) for record in records) for name in totals}
    shards = ("",) * manifest.shards
    edit(path, **root_attributes(manifest, Completion(totals, files, shards)))


def forged_record(record, manifest, with_sizes):
    """A record of the ledger with the identity of the manifest and, perhaps, the sizes that it implies."""
    record = dataclasses.replace(record, manifest_sha256=manifest.sha256)
    if not with_sizes:
        return record
    rows = {
        "image": len(manifest.image_range(record.shard)),
        "caption": manifest.shard_captions[record.shard],
        "token": record.tokens,
    }
    files = {}
    for layout in sharded_layouts(manifest).values():
        name, in_use = layout.shard_file(record.shard), rows[layout.dimensions[0]]
        old = record.files[name]
        written = dataclasses.replace(old.written, bytes=layout.shard_bytes(in_use))
        files[name] = ShardFile(written, old.crc32c)
    return dataclasses.replace(record, files=files)


def test_a_manifest_that_leaves_its_captions_to_be_guessed_is_refused(path):
    manifest = read_root(path)[0].to_json()
    del manifest["shard_captions"]
    edit(path, manifest={**manifest, "images": HUGE, "captions": HUGE, "shard_images": 1})
    with pytest.raises(CacheFormatError, match="manifest: shard_captions is missing"):
        ActivationCache.open(path)


def test_array_metadata_that_claims_more_than_the_manifest_is_refused(path):
    file = path / "vision/tokens/zarr.json"
    document = json.loads(file.read_text())
    document["shape"][0] = 10**12
    file.write_text(json.dumps(document))
    with pytest.raises(CacheFormatError, match=r"vision/tokens/zarr\.json: shape is \[1000000000000, 6, 5\]"):
        ActivationCache.open(path)


@pytest.mark.parametrize("name", ["vision/tokens/c.1.0.0", "text/token_ids/c.2", "text/pooled/c.0.0"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "renamed"])
def test_a_shard_file_missing_or_truncated_is_found_on_opening(path, name, damage):
    file = path / name
    if damage == "missing":
        file.unlink()
    elif damage == "renamed":
        file.rename(file.with_name(file.name.replace("c.", "c.7")))
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError, match=rf"shard {name.split('.')[1]}: {name}"):
        ActivationCache.open(path)


def test_a_shard_file_that_vanishes_after_opening_never_reads_as_zeros(path):
    cache = ActivationCache.open(path)
    (path / "vision/tokens/c.1.0.0").unlink()
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 1 .*is missing"):
        cache.read_stored("vision/tokens", np.array([0, 4]))


def test_a_shard_file_of_zeros_never_reads_as_zeros(path):
    file = path / "vision/tokens/c.1.0.0"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(CacheCorruptError, match="vision/tokens shard 1"):
        ActivationCache.open(path).read_stored("vision/tokens", np.array([4]))


def test_a_flipped_bit_in_any_data_file_is_found(path):
    random = np.random.default_rng(0)
    files = [*path.glob("vision/*/c.*"), *path.glob("text/*/c.*"), *path.glob("*.parquet")]
    assert len(files) == 5 * 3 + 2 + 2
    for file in files:
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        file.write_bytes(damaged)
        with pytest.raises(CacheCorruptError):
            read_everything(path)
        file.write_bytes(content)
    read_everything(path)


def test_columns_of_the_samples_are_those_of_the_whole(cache):
    columns = ["skip_reason", "pair", "objects"]
    assert cache.read_samples(columns).equals(cache.samples.select(columns))


def test_samples_of_pairs_stand_in_the_order_of_the_pairs(cache):
    pairs = cache.read_pair_samples(["pair", "caption"])
    assert pairs["pair"].to_pylist() == list(range(cache.pairs))
    assert cache.read_pair_samples(["caption"])["caption"].equals(pairs["caption"])


@given(st.data())
def test_rows_of_the_samples_are_those_of_the_whole_whichever_shards_they_are_in(cache, data):
    rows = data.draw(st.lists(st.integers(0, len(cache.samples) - 1), min_size=1, unique=True).map(sorted))
    assert cache.read_sample_rows(np.array(rows)).equals(cache.samples.take(pa.array(rows)).combine_chunks())


def test_columns_of_a_damaged_file_are_refused_wherever_the_damage_is(path):
    file = path / "samples.parquet"
    for position in (5, file.stat().st_size // 2, file.stat().st_size - 5):
        content = bytearray(file.read_bytes())
        content[position] ^= 4
        file.write_bytes(content)
        with pytest.raises(CacheCorruptError, match=r"samples\.parquet"):
            ActivationCache.open(path).read_samples(["pair"])
        content[position] ^= 4
        file.write_bytes(content)
    ActivationCache.open(path).read_samples(["pair"])


@pytest.mark.parametrize("name", ["samples.parquet", "ledger.parquet"])
def test_a_flipped_bit_anywhere_in_a_parquet_file_is_found(path, name):
    content = (path / name).read_bytes()
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 4
        (path / name).write_bytes(damaged)
        with pytest.raises(CacheCorruptError, match=name):
            _ = ActivationCache.open(path).samples


@pytest.fixture(scope="module")
def large(Example, tmp_path_factory):  # noqa: N803
    example = dataclasses.replace(Example(), **LARGE)
    path = tmp_path_factory.mktemp("large") / "large.zarr"
    example.write(path)
    return path


@pytest.fixture
def damaged(large):
    """A cache with one flipped byte in image row 45, which is in shard 2; undone afterwards."""
    file = large / "vision/tokens/c.2.0.0"
    content = file.read_bytes()
    position = 5 * (6 * 5 * 2 + 4) + 7
    file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
    yield large
    file.write_bytes(content)


def test_errors_in_reading_threads_name_array_and_shard(damaged):
    cache = ActivationCache.open(damaged)
    cache.read_stored("vision/tokens", np.arange(45))
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 2 .*chunk 5 fails its CRC32C"):
        cache.read_stored("vision/tokens", np.arange(60))


@pytest.mark.parametrize(
    ("name", "position", "message"),
    [
        ("vision/tokens/c.1.0.0", 70, "vision/tokens shard 1 .*chunk 1 .*concerns 6, 7\\)"),
        ("vision/pooled/c.2.0", 0, "vision/pooled shard 2 .*chunk 0 .*concerns 9, 10\\)"),
        ("text/pooled/c.0.0", 11, "text/pooled shard 0 .*chunk 1 .*concerns 1\\)"),
        ("text/token_ids/c.0", 0, "text/token_ids shard 0 .*chunk 0 .*concerns 0, 1, 2"),
        ("text/tokens/c.2.0", -1, "text/tokens shard 2 .*its index.*concerns 9, 10, 11, 12\\)"),
    ],
)
def test_errors_name_the_pairs_that_were_asked_for_and_are_lost(path, name, position, message):
    content = bytearray((path / name).read_bytes())
    content[position] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CacheCorruptError, match=message):
        ActivationCache.open(path).read_pairs(np.arange(13)[::-1])


@pytest.mark.parametrize("placement", ["stream", "host", "device"])
def test_errors_reach_whoever_draws_batches(damaged, placement):
    cache = ActivationCache.open(damaged)
    with pytest.raises(CacheCorruptError, match="vision/tokens shard 2"):
        list(PairLoader(cache, 10, seed=0, placement=placement).batches(0))


def test_errors_reach_whoever_iterates_where_the_batch_would_have_been(damaged):
    batches = ActivationCache.open(damaged).iterate(10)
    assert [next(batches).pair[0].item() for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(CacheCorruptError, match="vision/tokens shard 2"):
        next(batches)


@pytest.mark.parametrize("index", [-1, 13])
def test_pair_indices_out_of_range_are_refused(cache, index):
    with pytest.raises(IndexError, match="of 13"):
        cache.read_pairs(np.array([0, index]))


def test_no_pairs_make_an_empty_batch(cache):
    batch = cache.read_pairs(np.array([], np.int64))
    assert batch.vision_tokens.shape == (0, 6, 5) and batch.text_tokens.shape == (0, 4)
    assert batch.text_offsets.tolist() == [0]


@pytest.mark.parametrize("name", ["vision/tokens", "vision/pooled", "text/tokens", "text/token_ids"])
def test_a_range_is_read_into_the_callers_buffer(large, name):
    cache = ActivationCache.open(large)
    expected = cache.read_rows(name, np.arange(3, 58))
    out = np.empty_like(expected)
    assert cache.read_rows(name, range(3, 58), out) is out
    np.testing.assert_array_equal(out, expected)
    single = [cache.read_rows(name, np.array([row]))[0] for row in range(3, 58)]
    np.testing.assert_array_equal(out, single)


@given(st.lists(st.integers(0, 59), max_size=90))
def test_any_images_in_any_order_are_converted_into_the_callers_buffer(large_cache, rows):
    rows = np.array(rows, np.int64)
    out = np.full((len(rows), 6, 5), np.nan, np.float32)
    large_cache.read_rows("vision/tokens", rows, out)
    np.testing.assert_array_equal(out, large_cache.read_rows("vision/tokens", range(60))[rows])


@pytest.fixture(scope="module")
def large_cache(large):
    with ActivationCache.open(large) as cache:
        yield cache


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((3, 6, 5), np.float16), "a buffer of float16 .3, 6, 5. for 2 rows of float16 .6, 5."),
        (np.empty((2, 6, 5), np.int16), "a buffer of int16"),
        (np.empty((2, 5, 6), np.float16).swapaxes(1, 2), "not contiguous"),
    ],
)
def test_buffers_that_do_not_fit_are_refused(cache, out, message):
    with pytest.raises(ValueError, match=message):
        cache.read_rows("vision/tokens", range(2), out)


@pytest.mark.parametrize("row", [-1, 11])
def test_rows_out_of_range_are_refused(cache, row):
    with pytest.raises(IndexError, match=r"vision/tokens: rows .* of 11"):
        cache.read_rows("vision/tokens", np.array([0, row]))


def test_a_closed_cache_has_no_open_files_and_no_threads_and_says_so(path):
    with ActivationCache.open(path) as cache:
        cache.read_pairs(np.arange(13))
        assert any(name.startswith(str(path)) for name in open_files())
    assert not any(name.startswith(str(path)) for name in open_files())
    with pytest.raises(CacheError, match=r"copy\.zarr: was closed"):
        cache.read_pairs(np.arange(13))


def open_files():
    """Paths of the files that this process has open."""
    links = [*Path("/proc/self/fd").iterdir()]
    return [str(link.readlink()) for link in links if link.is_symlink()]
