import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import CacheWriter
from cache.format.samples import used_rows
from cache.format.storage import StoredRows, as_tensor, rounded

SIZES = st.integers(1, 4)


@st.composite
def examples(draw):
    counts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=9))
    return {
        "caption_counts": tuple(counts),
        "undecodable": frozenset(draw(st.sets(st.integers(0, len(counts) - 1), max_size=3))),
        "shard_images": draw(st.integers(1, 5)),
        "grid": (draw(SIZES), draw(SIZES)),
        "channels": (draw(SIZES), draw(SIZES)),
        "embedding": draw(SIZES),
        "context_length": draw(st.integers(1, 300)),
        "storage_dtype": draw(st.sampled_from(["float16", "bfloat16", "float32"])),
    }


def as_stored(values, example):
    return StoredRows(as_tensor(rounded(values, example.storage_dtype))).decoded()


@settings(max_examples=12)
@given(examples(), st.randoms())
def test_what_is_written_in_any_order_is_read_back(Example, tmp_path_factory, values, random):  # noqa: N803
    example = Example(**values)
    path = tmp_path_factory.mktemp("round") / "example.zarr"
    writer = CacheWriter.open(path, example.manifest)
    shards = writer.missing_shards
    random.shuffle(shards)
    for shard in shards:
        writer.write_shard(shard, *example.shard(shard))
    cache = writer.finish()

    expected = []
    for row in range(len(example.caption_counts)):
        vision, pooled, captions, samples = example.image(row)
        tokens, vision_pooled = (
            cache.read_stored(f"vision/{name}", np.array([row])).decoded() for name in ("tokens", "pooled")
        )
        np.testing.assert_array_equal(tokens[0], as_stored(vision, example))
        np.testing.assert_array_equal(vision_pooled[0], as_stored(pooled, example))
        expected += [(vision, pooled, *caption) for caption in captions if len(caption[0])]
        assert len(samples) == (cache.samples["image_row"].to_numpy() == row).sum()
    assert cache.pairs == len(expected) == used_rows(cache.samples).sum()
    assert cache.skipped == len(cache.samples) - cache.pairs

    order = random.sample(range(cache.pairs), cache.pairs)
    batch = cache.read_pairs(np.array(order, np.int64))
    assert batch.pair.tolist() == order
    for position, pair in enumerate(order):
        vision, pooled, tokens, token_ids, text_pooled = expected[pair]
        span = slice(batch.text_offsets[position], batch.text_offsets[position + 1])
        for found, wanted in (
            (batch.vision_tokens[position], vision),
            (batch.vision_pooled[position], pooled),
            (batch.text_tokens[span], tokens),
            (batch.text_pooled[position], text_pooled),
        ):
            np.testing.assert_array_equal(found, as_stored(wanted, example))
        np.testing.assert_array_equal(batch.token_ids[span], token_ids)


def test_batches_have_the_promised_dtypes(cache):
    batch = cache.read_pairs(np.array([3, 1]))
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in batch._asdict().items()}
    assert dtypes == {
        "pair": "int64", "vision_tokens": "float32", "text_tokens": "float32", "text_offsets": "int64",
        "token_ids": "int64", "vision_pooled": "float32", "text_pooled": "float32",
    }  # fmt: skip


def test_samples_keep_everything_about_a_pair(cache, example):
    written = [row for shard in range(3) for row in example.shard(shard)[1].to_pylist()]
    filled_in = ("pair", "caption_row", "tokens")
    found = cache.samples.to_pylist()
    assert [{**row, **dict.fromkeys(filled_in)} for row in found] == written
    assert [row["pair"] for row in found if row["pair"] is not None] == list(range(cache.pairs))
    assert {row["skip_reason"] for row in found if row["pair"] is None} == {
        "image cannot be decoded",
        "no caption",
    }


def test_statistics_are_those_of_the_stored_tokens_that_are_in_pairs(cache, example):
    images = np.unique(cache.pair_images)
    batch = cache.read_pairs(np.arange(cache.pairs))
    vision = cache.read_stored("vision/tokens", images).decoded().reshape(-1, 5).double().numpy()
    text = batch.text_tokens.double().numpy()
    for side, tokens in (("vision", vision), ("text", text)):
        statistics = cache.statistics[side]
        assert statistics.count == len(tokens)
        np.testing.assert_allclose(statistics.mean, tokens.mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(statistics.variance, tokens.var(0), rtol=1e-12)
    skipped = len(example.undecodable) + example.caption_counts.count(0)
    assert cache.statistics["vision"].count == (len(example.caption_counts) - skipped) * 6


def test_no_file_tells_when_or_where_it_was_written(example, tmp_path):
    example.write(tmp_path / "a" / "one.zarr")
    example.write(tmp_path / "b" / "two.zarr")
    contents = [
        {file.relative_to(root): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        for root in (tmp_path / "a" / "one.zarr", tmp_path / "b" / "two.zarr")
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("batch_pairs", [1, 5, 13, 100])
def test_iterating_yields_every_pair_once_in_order(cache, batch_pairs):
    batches = list(cache.iterate(batch_pairs))
    assert [pair for batch in batches for pair in batch.pair.tolist()] == list(range(cache.pairs))
    assert all(len(batch.pair) == batch_pairs for batch in batches[:-1])
