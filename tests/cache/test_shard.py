from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import CacheCorruptError
from cache.files.durable import write_all_durably
from cache.files.open_files import OpenFiles
from cache.format.layout import TOKEN_CHUNK, array_hierarchy, check_arrays, sharded_layouts
from cache.format.storage_options import CODEC_DTYPES
from cache.reading.checksums import ChunkChecksums
from cache.reading.sharded_array import ShardedArray
from cache.writing.shard import write_shard_file


def write(folder, layout, rows, shard=0):
    """Write a shard file; what the ledger would say of its chunks."""
    (folder / layout.name).mkdir(parents=True, exist_ok=True)
    name = layout.shard_file(shard)
    return {name: write_shard_file(folder / name, layout, rows).crc32c}


def array_of(folder, layout, ledger, **options):
    """The array in a folder, of whose chunks the ledger says this."""
    return ShardedArray(OpenFiles(folder, **options), layout, ChunkChecksums(lambda: ledger))


def values(layout, rows, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 1000, (rows, *layout.row_shape)).astype(layout.dtype)


def write_metadata(folder, manifest):
    write_all_durably({folder / name: content for name, content in array_hierarchy(manifest).members.items()})


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(
            (name, {})
            for name in ("vision/tokens", "vision/pooled", "text/pooled", "text/tokens", "text/token_ids")
        ),
        *(
            (f"{side}/tokens", {"storage_dtype": dtype, "codec": codec})
            for codec, dtypes in CODEC_DTYPES.items()
            for dtype, side in zip(dtypes, ("vision", "text", "vision", "text"), strict=False)
        ),
    ],
)
def test_shard_files_are_the_bytes_that_zarr_python_writes(Example, tmp_path, name, form):  # noqa: N803
    manifest = Example(**form).manifest
    layout = sharded_layouts(manifest)[name]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        write_metadata(path, manifest)
    array = zarr.open_array(theirs / name)
    for shard in range(2):
        rows = values(layout, layout.shard_rows - 1, shard)
        array[shard * layout.shard_rows : shard * layout.shard_rows + len(rows)] = rows
        write_shard_file(ours / layout.shard_file(shard), layout, rows)
        ours_bytes = (ours / layout.shard_file(shard)).read_bytes()
        assert len(ours_bytes) <= layout.shard_bytes(len(rows))
        assert layout.codec != "none" or len(ours_bytes) == layout.shard_bytes(len(rows))
        assert ours_bytes == (theirs / layout.shard_file(shard)).read_bytes()


def test_created_arrays_pass_the_check_of_their_metadata(example, tmp_path):
    write_metadata(tmp_path, example.manifest)
    check_arrays(tmp_path, example.manifest)


@pytest.fixture(scope="module")
def text(example, tmp_path_factory):
    """The packed text array of two shards, and its rows by number; capacity is one chunk more than in use."""
    manifest = example.manifest.model_copy(update={"context_length": 120})
    layout = sharded_layouts(manifest)["text/tokens"]
    folder = tmp_path_factory.mktemp("text")
    write_metadata(folder, manifest)
    used = layout.shard_rows - TOKEN_CHUNK - 5
    content, ledger = {}, {}
    for shard in range(2):
        rows = values(layout, used, shard)
        ledger |= write(folder, layout, rows, shard)
        content.update({shard * layout.shard_rows + number: row for number, row in enumerate(rows)})
    return array_of(folder, layout, ledger), content, ledger


@given(st.data())
def test_any_rows_in_any_order_are_read_as_written(text, data):
    array, content, _ = text
    rows = np.array(data.draw(st.lists(st.sampled_from(list(content)), max_size=40)), np.int64)
    read = array.read_rows(rows)
    assert read.shape == (len(rows), 4)
    for row, found in zip(rows, read, strict=True):
        np.testing.assert_array_equal(found, content[row])


def test_a_chunk_that_was_never_written_is_an_error_and_not_zeros(text):
    array, *_ = text
    with pytest.raises(CacheCorruptError, match=r"text/tokens shard 1 .*never written"):
        array.read_rows(np.array([2 * array.layout.shard_rows - 1]))


def test_a_flipped_bit_in_any_byte_of_a_shard_file_is_found(example, tmp_path):
    layout = sharded_layouts(example.manifest)["text/pooled"]
    file = tmp_path / layout.shard_file(0)
    ledger = write(tmp_path, layout, values(layout, layout.shard_rows))
    content = file.read_bytes()
    rows = np.arange(layout.shard_rows)
    array_of(tmp_path, layout, ledger).read_rows(rows)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(CacheCorruptError, match="text/pooled shard 0"):
            array_of(tmp_path, layout, ledger).read_rows(rows)


@settings(max_examples=30)
@given(st.data())
def test_every_truncation_of_a_shard_file_is_found(example, tmp_path_factory, data):
    layout = sharded_layouts(example.manifest)["text/pooled"]
    folder = tmp_path_factory.mktemp("truncated")
    file = folder / layout.shard_file(0)
    ledger = write(folder, layout, values(layout, layout.shard_rows))
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CacheCorruptError, match="text/pooled shard 0"):
        array_of(folder, layout, ledger).read_rows(np.arange(layout.shard_rows))


def test_a_file_truncated_after_it_was_opened_is_found(example, tmp_path):
    layout = sharded_layouts(example.manifest)["text/pooled"]
    file = tmp_path / layout.shard_file(0)
    array = array_of(tmp_path, layout, write(tmp_path, layout, values(layout, layout.shard_rows)))
    array.read_rows(np.array([0]))
    file.write_bytes(file.read_bytes()[: layout.chunk_bytes + 6])
    with pytest.raises(CacheCorruptError, match="truncated in chunk 1"):
        array.read_rows(np.array([1]))


def test_files_that_had_to_be_closed_are_opened_again(text):
    array, content, ledger = text
    few = array_of(array._files.folder, array.layout, ledger, capacity=1)
    rows = np.array([list(content)[place] for place in (0, -1, 1, -2)])
    before = len(open_files())
    for _ in range(2):
        np.testing.assert_array_equal(few.read_rows(rows), [content[row] for row in rows.tolist()])
    assert len(open_files()) == before + 1


def open_files():
    """Shard files that this process has open."""
    links = [*Path("/proc/self/fd").iterdir()]
    return [link for link in links if link.is_symlink() and link.readlink().name.startswith("c.")]
