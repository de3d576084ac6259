import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import CacheFormatError, CacheIdentityError, Manifest, captions_of_shards
from cache.format.manifest import refuse_other_identity


def changed(manifest, **values):
    return Manifest(**{**manifest.to_json(), **values})


def test_an_unknown_storage_dtype_is_refused_naming_those_there_are(example):
    values = {**example.manifest.to_json(), "storage_dtype": "float17"}
    with pytest.raises(
        CacheFormatError, match=r"storage_dtype: .*'bfloat16', 'float32' or 'int8', found 'float17'"
    ):
        Manifest.from_json(values, "zarr.json")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"grid": [2, 4]}, "does not have 6 patches"),
        ({"captions": 16}, "adds up to 15, captions says 16"),
        ({"shard_captions": [7, 8]}, "2 entries for 3 shards"),
        ({"shard_captions": []}, "captions_of_shards"),
        ({"version": 1}, "version 1, .* encode it again"),
        ({"version": 3}, "version 3, .* use the release that wrote it"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(example, values, message):
    with pytest.raises(CacheFormatError, match=message):
        changed(example.manifest, **values)


def test_a_manifest_without_shard_captions_has_one_caption_for_each_image(example):
    manifest = changed(example.manifest, captions=11, shard_captions=())
    assert manifest.shard_captions == (4, 4, 3)


def test_a_manifest_survives_json(example):
    assert Manifest.from_json(example.manifest.to_json(), "here") == example.manifest


def test_an_unknown_key_is_refused_by_name(example):
    with pytest.raises(CacheFormatError, match=r"zarr\.json: manifest: colour"):
        Manifest.from_json({**example.manifest.to_json(), "colour": "red"}, "zarr.json")


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 7))
def test_every_image_and_caption_has_exactly_one_row_in_one_shard(counts, shard_images):
    manifest = Manifest(
        backbone={}, dataset={}, images=len(counts), captions=sum(counts), patches=1, grid=(1, 1),
        vision_channels=1, text_channels=1, embedding=1, context_length=1, shard_images=shard_images,
        shard_captions=captions_of_shards(counts, shard_images),
    )  # fmt: skip
    shards = range(manifest.shards)
    assert [row for k in shards for row in manifest.image_range(k)] == list(range(len(counts)))
    captions = [row for k in shards for row in manifest.caption_range(k)]
    assert len(set(captions)) == sum(counts)
    for k in shards:
        assert sum(counts[row] for row in manifest.image_range(k)) == len(manifest.caption_range(k))
        assert all(row // manifest.caption_capacity == k for row in manifest.caption_range(k))


VALUES = st.integers(0, 2) | st.sampled_from(["", "a"]) | st.booleans() | st.just({})
OBJECTS = st.dictionaries(
    st.sampled_from("abc"), VALUES | st.dictionaries(st.sampled_from("ab"), VALUES, max_size=2), max_size=3
)


def as_json(values):
    return json.dumps(values, sort_keys=True)


@given(OBJECTS, OBJECTS)
def test_identities_are_refused_exactly_when_they_differ(found, expected):
    if as_json(found) == as_json(expected):
        refuse_other_identity(found, expected, "here", "")
    else:
        with pytest.raises(CacheIdentityError):
            refuse_other_identity(found, expected, "here", "")


def test_every_differing_key_is_named_with_both_values():
    found = {"model": "tiny", "preprocessing": {"size": 8, "mean": 0.5}, "layer": "last"}
    expected = {"model": "tiny", "preprocessing": {"size": 9, "mean": 0.5}, "tokenizer": "t5"}
    with pytest.raises(CacheIdentityError) as error:
        refuse_other_identity(found, expected, "a.zarr", "encode again")
    lines = str(error.value).splitlines()
    assert lines[0].startswith("a.zarr: ") and "encode again" in lines[0]
    assert [line.strip() for line in lines[1:]] == [
        'layer: the cache has "last", expected (absent)',
        "preprocessing.size: the cache has 8, expected 9",
        'tokenizer: the cache has (absent), expected "t5"',
    ]
