import dataclasses
import json

import numpy as np
import pytest

from cache import (
    ActivationCache,
    CacheCorruptError,
    CacheFormatError,
    CacheIdentityError,
    CacheMissingError,
    PairLoader,
)

LARGE = {"caption_counts": (1,) * 60, "undecodable": frozenset(), "shard_images": 20}


def read_everything(path):
    cache = ActivationCache.open(path)
    cache.read_images(np.arange(cache.manifest.images))
    cache.read_rows("text/pooled", cache.samples["caption_row"].drop_null().to_numpy())
    cache.read_pairs(np.arange(cache.pairs))
    return cache.statistics


def edit(path, **attributes):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"].update(attributes)
    (path / "zarr.json").write_text(json.dumps(document))


def test_a_missing_cache_is_named(tmp_path):
    with pytest.raises(CacheMissingError, match=r"no\.zarr"):
        ActivationCache.open(tmp_path / "no.zarr")


def test_a_foreign_folder_is_refused(tmp_path):
    with pytest.raises(CacheFormatError, match="not an activation cache"):
        ActivationCache.open(tmp_path)


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
        ({"version": 2}, "format version 2, and this software reads version 1"),
        ({"format": "other"}, "format 'other'"),
        ({"totals": {"images": 1}}, "totals or files were edited"),
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


def test_array_metadata_that_claims_more_than_the_manifest_is_refused(path):
    file = path / "vision/tokens/zarr.json"
    document = json.loads(file.read_text())
    document["shape"][0] = 10**12
    file.write_text(json.dumps(document))
    with pytest.raises(CacheFormatError, match=r"vision/tokens/zarr\.json: shape is \[1000000000000, 6, 5\]"):
        ActivationCache.open(path)


@pytest.mark.parametrize("name", ["vision/tokens/c.1.0.0", "text/token_ids/c.2", "text/pooled/c.0.0"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_shard_file_missing_or_truncated_is_found_on_opening(path, name, damage):
    file = path / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CacheCorruptError, match=rf"shard {name.split('.')[1]}: {name}"):
        ActivationCache.open(path)


def test_a_shard_file_that_vanishes_after_opening_never_reads_as_zeros(path):
    cache = ActivationCache.open(path)
    (path / "vision/tokens/c.1.0.0").unlink()
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 1 .*cannot be opened"):
        cache.read_images(np.array([0, 4]))


def test_a_shard_file_of_zeros_never_reads_as_zeros(path):
    file = path / "vision/tokens/c.1.0.0"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(CacheCorruptError, match="vision/tokens shard 1"):
        ActivationCache.open(path).read_images(np.array([4]))


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
    cache.read_images(np.arange(45))
    with pytest.raises(CacheCorruptError, match=r"vision/tokens shard 2 .*chunk 5 fails its CRC32C"):
        cache.read_images(np.arange(60))


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
