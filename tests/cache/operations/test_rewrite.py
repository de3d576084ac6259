"""Caches made from caches hold what reading the same rows from their sources gives, bit for bit."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import ActivationCache, CacheError, CacheIdentityError, CacheWriter
from cache.operations import Selection, convert, merge, select_pairs, subset, verify

WITHOUT_NUMBERS = ["caption_row", "image_row", "pair"]


def assert_same_pairs(ours, our_pairs, theirs, their_pairs):
    """Compare pairs of two caches, and what samples says of them, exactly."""
    left, right = ours.read_pairs(our_pairs), theirs.read_pairs(their_pairs)
    for name in left._fields[1:]:
        assert getattr(left, name).equal(getattr(right, name)), name
    assert rows_of(ours, our_pairs) == rows_of(theirs, their_pairs)


def rows_of(cache, pairs):
    rows = cache.samples.filter(cache.samples["pair"].is_valid()).take(pa.array(pairs))
    return rows.drop_columns(WITHOUT_NUMBERS).to_pylist()


@pytest.fixture(scope="module")
def sources(Example, tmp_path_factory):  # noqa: N803
    """A cache of each dtype whose values survive being written again."""
    folder = tmp_path_factory.mktemp("sources")
    return [Example(storage_dtype=d).write(folder / f"{d}.zarr") for d in ("float16", "bfloat16", "float32")]


@settings(max_examples=8)
@given(which=st.integers(0, 2), pairs=st.sets(st.integers(0, 12), min_size=1))
def test_a_subset_is_what_reading_those_pairs_gives(sources, tmp_path_factory, which, pairs):
    source, chosen = sources[which], np.array(sorted(pairs))
    written = subset(source, tmp_path_factory.mktemp("subset") / "subset.zarr", Selection(chosen, {}))
    assert written.pairs == len(chosen) and written.skipped == 0
    assert_same_pairs(written, np.arange(len(chosen)), source, chosen)
    assert verify(written.path).sound


def test_int8_is_quantised_anew_within_its_error(Example, tmp_path):  # noqa: N803
    source = Example(storage_dtype="int8").write(tmp_path / "source.zarr")
    written = subset(source, tmp_path / "subset.zarr", Selection(np.arange(2, 9), {}))
    ours, theirs = written.read_pairs(np.arange(7)), source.read_pairs(np.arange(2, 9))
    np.testing.assert_allclose(ours.vision_tokens, theirs.vision_tokens, atol=0.05)
    assert ours.vision_pooled.equal(theirs.vision_pooled)


@pytest.mark.parametrize("shard_images", [3, 50])
def test_other_shards_are_those_that_would_have_been_written_at_once(
    example,
    cache,
    tmp_path,
    digests,
    shard_images,
):
    at_once = dataclasses.replace(example, shard_images=shard_images).write(tmp_path / "at_once.zarr")
    converted = convert(cache, tmp_path / "converted.zarr", shard_images=shard_images)
    expected, found = digests(at_once.path), digests(converted.path)
    for file in (
        "zarr.json",
        "ledger.parquet",
    ):  # these repeat the manifest, which tells where the cache comes from
        del expected[file], found[file]
    assert found == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "int8"])
def test_another_dtype_is_that_of_the_same_values(Example, cache, tmp_path, digests, dtype):  # noqa: N803
    wide = Example(storage_dtype="float32").write(tmp_path / "wide.zarr")
    at_once = Example(storage_dtype=dtype).write(tmp_path / "at_once.zarr")
    converted = convert(wide, tmp_path / "converted.zarr", dtype)
    for file, digest in digests(at_once.path).items():
        if file not in ("zarr.json", "ledger.parquet"):
            assert digests(converted.path)[file] == digest, file
    assert converted.skipped == cache.skipped == 3


def test_float16_survives_the_way_to_float32_and_back(cache, tmp_path):
    wide = convert(cache, tmp_path / "wide.zarr", "float32")
    narrow = convert(wide, tmp_path / "narrow.zarr", "float16")
    everything = np.arange(cache.pairs)
    assert_same_pairs(narrow, everything, cache, everything)
    origin = narrow.manifest.dataset["derived"]["from"][0]
    assert origin["derived"]["from"][0]["manifest_sha256"] == cache.manifest.sha256


def test_the_parts_of_a_cache_merge_to_the_whole(cache, tmp_path):
    first = subset(cache, tmp_path / "first.zarr", select_pairs(cache, ":6", None, []))
    second = subset(cache, tmp_path / "second.zarr", select_pairs(cache, "6:", None, []))
    merged = merge([first, second], tmp_path / "merged.zarr")
    everything = np.arange(cache.pairs)
    assert_same_pairs(merged, everything, cache, everything)
    assert verify(merged.path).sound
    assert [part["manifest_sha256"] for part in merged.manifest.dataset["derived"]["from"]] == [
        first.manifest.sha256,
        second.manifest.sha256,
    ]
    assert merged.manifest.dataset["split"] == "train"


def test_a_merge_keeps_skipped_rows_and_finds_image_files_below_the_common_root(example, cache, tmp_path):
    other = with_dataset(example, root="data/photos/2024", split="val", first_id=500).write(
        tmp_path / "other.zarr"
    )
    merged = merge([cache, other], tmp_path / "merged.zarr")
    assert merged.skipped == cache.skipped + other.skipped
    assert merged.manifest.images == 22 and merged.pairs == 26
    dataset = merged.manifest.dataset
    assert (dataset["root"], dataset["split"], dataset["name"]) == ("data", "train+val", "example")
    files = merged.samples["file"].to_pylist()
    assert files[0] == "example/train/000000.jpg" and files[-1] == "photos/2024/train/000010.jpg"


def with_dataset(example, root, split, first_id):
    """An example of other images in another data set."""

    class Other(type(example)):
        @property
        def manifest(self):
            manifest = super().manifest
            return manifest.model_copy(update={"dataset": {**manifest.dataset, "root": root, "split": split}})

        def image(self, row):
            vision, pooled, captions, rows = super().image(row)
            return vision, pooled, captions, [{**one, "image_id": first_id + row} for one in rows]

    return Other(**dataclasses.asdict(example))


def test_an_image_in_two_sources_is_refused_by_its_id(cache, tmp_path):
    part = subset(cache, tmp_path / "part.zarr", select_pairs(cache, "5:8", None, []))
    with pytest.raises(CacheError, match=r"part.zarr: image ids 102, 105 are also in .*example.zarr"):
        merge([cache, part], tmp_path / "merged.zarr")
    assert not (tmp_path / "merged.zarr").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"backbone": {"model": "other"}}, 'backbone.model: the cache has "other", expected "tiny"'),
        ({"storage_dtype": "float32"}, 'storage_dtype: the cache has "float32", expected "float16"'),
        ({"context_length": 10}, "context_length: the cache has 10, expected 9"),
    ],
)
def test_caches_of_another_kind_are_not_merged(example, cache, tmp_path, change, told):
    other = dataclasses.replace(example, **change).write(tmp_path / "other.zarr")
    with pytest.raises(CacheIdentityError) as error:
        merge([cache, other], tmp_path / "merged.zarr")
    assert told in str(error.value)


def test_clipped_values_stay_on_record(Example, tmp_path):  # noqa: N803
    wide = Example(storage_dtype="float32", seed=1)
    activations, samples = wide.shard(0)
    with CacheWriter.open(tmp_path / "wide.zarr", wide.manifest) as writer:
        activations.vision_tokens[0, 0, :] = 1e5
        writer.write_shard(0, activations, samples)
        narrow = convert(wide.write_into(writer), tmp_path / "narrow.zarr", "float16")
    assert narrow.statistics["vision"].overflow == 5
    again = convert(narrow, tmp_path / "again.zarr", shard_images=2)
    assert again.statistics["vision"].overflow == 0
    assert again.manifest.dataset["derived"]["from"][0]["overflow"] == {"vision": 5, "text": 0}


def test_an_interrupted_rewrite_is_resumed_to_the_same_bytes(cache, tmp_path, digests):
    def interrupt(done, _):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(cache, tmp_path / "resumed.zarr", "float32", None, 2, interrupt)
    progress = []
    convert(cache, tmp_path / "resumed.zarr", "float32", None, 2, lambda *done: progress.append(done))
    convert(cache, tmp_path / "at_once.zarr", "float32", None, 2)
    assert progress[0] == (3, 6)
    assert digests(tmp_path / "resumed.zarr") == digests(tmp_path / "at_once.zarr")


def test_a_rewrite_is_not_resumed_from_a_source_of_other_values(example, cache, tmp_path):
    def interrupt(done, _):
        raise KeyboardInterrupt

    other = dataclasses.replace(example, seed=1).write(tmp_path / "other.zarr")
    assert other.manifest == cache.manifest
    with pytest.raises(KeyboardInterrupt):
        convert(cache, tmp_path / "new.zarr", "float32", None, 2, interrupt)
    with pytest.raises(CacheIdentityError, match="content_blake3"):
        convert(other, tmp_path / "new.zarr", "float32", None, 2)


def test_another_cache_in_the_way_is_refused(cache, path):
    with pytest.raises(CacheIdentityError, match=r"dataset\.derived"):
        convert(cache, path, "float32")
    assert verify(path).sound


def test_a_damaged_source_is_not_copied(path, tmp_path):
    content = bytearray((path / "vision/tokens/c.1.0.0").read_bytes())
    content[0] ^= 1
    (path / "vision/tokens/c.1.0.0").write_bytes(content)
    with pytest.raises(CacheError, match="vision/tokens shard 1"):
        convert(ActivationCache.open(path), tmp_path / "c.zarr", "float32")
