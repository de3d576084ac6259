"""A reader that is open while its cache is replaced goes on with the old one, or says so; it never mixes the two."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cache import ActivationCache, CacheReplacedError, CacheWriter, PairLoader, clear_cache
from cache.operations import convert, subset
from cache.operations.selection import Selection

MANY = {"caption_counts": (1,) * 24, "undecodable": frozenset(), "shard_images": 2}
FEW = {**MANY, "shard_images": 12}


@pytest.fixture(params=[FEW])
def written(request, Example, tmp_path):  # noqa: N803
    """An example and its cache."""
    example = Example(**request.param)
    example.write(tmp_path / "c.zarr").close()
    return example, tmp_path / "c.zarr"


def replace(example, path, seed=1):
    """What `encode --replace` does: another backbone's activations in the same place."""
    clear_cache(path)
    dataclasses.replace(example, seed=seed, backbone={**example.backbone, "layer": seed}).write(path).close()


def drawn(cache, **options):
    return PairLoader(cache, 4, seed=0, placement="stream", **options).batches(0)


@pytest.mark.parametrize("written", [MANY], indirect=True)
def test_batches_end_with_the_reason_when_another_process_replaces_the_cache(written):
    _, path = written
    with ActivationCache.open(path) as cache:
        expected = [batch.vision_tokens.clone() for batch in drawn(cache)]
    with ActivationCache.open(path) as cache:
        batches = drawn(cache)
        found = [next(batches).vision_tokens.clone()]
        code = (
            "import dataclasses, sys\n"
            f"sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
            "from example_cache import Example\n"
            "from cache import clear_cache\n"
            f"clear_cache({str(path)!r})\n"
            f"Example(**{MANY!r}, seed=1).write({str(path)!r})\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
        with pytest.raises(
            CacheReplacedError, match=r"c\.zarr: was replaced, or is being written, .*start again"
        ):
            found += [batch.vision_tokens.clone() for batch in batches]
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize(
    "read",
    [
        lambda cache: cache.read_pairs(np.arange(24)),
        lambda cache: cache.read_stored("vision/tokens", np.arange(24)),
        lambda cache: cache.samples,
        lambda cache: cache.statistics,
        lambda cache: cache.caption_starts,
        lambda cache: cache.read_sample_rows(np.arange(3)),
        lambda cache: pickle.loads(pickle.dumps(cache)).read_stored("vision/tokens", np.arange(24)),  # noqa: S301
        lambda cache: PairLoader(cache, 4, seed=0, placement="host"),
        lambda cache: convert(cache, cache.path.with_name("converted.zarr"), "float32"),
        lambda cache: subset(cache, cache.path.with_name("s.zarr"), Selection(np.arange(9), {})),
    ],
    ids=lambda read: read.__code__.co_names[0] if read.__code__.co_names else "read",
)
@pytest.mark.parametrize("how", ["replaced", "being written", "deleted"])
def test_whatever_is_read_after_the_cache_was_replaced_is_refused(written, read, how):
    example, path = written
    with ActivationCache.open(path) as cache:
        _ = cache.sample_numbers
        if how == "replaced":
            replace(example, path)
        else:
            clear_cache(path)
        if how == "deleted":
            path.rmdir()
        elif how == "being written":
            with CacheWriter.open(path, dataclasses.replace(example, seed=1).manifest) as writer:
                writer.write_shard(0, *dataclasses.replace(example, seed=1).shard(0))
        with pytest.raises(CacheReplacedError):
            read(cache)


def test_files_that_are_open_are_read_to_their_end(written):
    example, path = written
    with ActivationCache.open(path) as cache:
        before = cache.read_pairs(np.arange(24))
        replace(example, path)
        assert all(map(torch.equal, cache.read_pairs(np.arange(24)), before))


def test_a_reader_outlives_the_repair_of_what_it_does_not_read(written):
    example, path = written
    with ActivationCache.open(path) as cache:
        before = cache.read_stored("vision/tokens", np.arange(24)).decoded()
        (path / "text/pooled/c.1.0").write_bytes(b"")
        with CacheWriter.reopen(path, [1]) as writer:
            example.write_into(writer).close()
        assert torch.equal(cache.read_stored("vision/tokens", np.arange(24)).decoded(), before)
        assert len(cache.samples) == 24
