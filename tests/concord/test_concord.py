"""The front door: light, flat, and exactly what the commands do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import concord
from pipeline.interpretation.dense_codes import Part
from stages.train import train_variants

ROOT = Path(__file__).parents[2]


def in_an_interpreter_of_its_own(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`code` where the checkout comes after everything else on the path, as that of an editable install does."""
    last = f"""
import sys
from importlib.machinery import PathFinder
class Last:
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(ROOT)!r}]) if path is None else None
sys.path = ["", *(path for path in sys.path if path != {str(ROOT)!r})]
sys.meta_path.append(Last)
"""
    return subprocess.run(
        [sys.executable, "-I", "-c", last + code], cwd=folder, capture_output=True, text=True, check=False
    )


def test_importing_it_loads_nothing_that_computes(tmp_path: Path) -> None:
    done = in_an_interpreter_of_its_own("import concord; print(*sys.modules)", tmp_path)
    assert not {"torch", "pyarrow", "zarr", "dask", "numpy"} & set(done.stdout.split()), done.stderr


@pytest.mark.parametrize("name", concord.__all__)
def test_everything_that_it_names_is_there_and_documented(name: str) -> None:
    assert name in dir(concord)
    assert getattr(concord, name).__doc__


def test_a_name_that_it_does_not_have_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_cach'"):
        concord.open_cach  # noqa: B018


def test_folders_of_the_same_names_are_not_taken_for_packages_of_ours(tmp_path: Path) -> None:
    for name in ("cache", "pipeline", "stages"):
        (tmp_path / name).mkdir()
    done = in_an_interpreter_of_its_own("import concord; concord.open_cache('absent.zarr')", tmp_path)
    assert "CacheMissingError: absent.zarr" in done.stderr


@pytest.mark.parametrize("name", ["cache", "pipeline"])
def test_somebody_elses_package_of_the_same_name_is_told_if_it_came_first(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    assert in_an_interpreter_of_its_own("import concord", tmp_path).returncode == 0
    done = in_an_interpreter_of_its_own(f"import {name}; import concord", tmp_path)
    assert f"ImportError: the package '{name}' of" in done.stderr
    assert "import concord first, or rename yours" in done.stderr


def test_fit_trains_what_the_command_trains(project: Path) -> None:
    params = concord.load_params()
    train_variants({"lucid": params.variant("lucid")}, {"lucid": project / "runs/by_command"})
    by_command, fitted = (
        (project / run / "model.safetensors").read_bytes() for run in ("runs/by_command", "runs/lucid")
    )
    assert fitted == by_command


def test_an_interrupted_fit_goes_on_from_its_folder(project: Path) -> None:
    params = concord.load_params()
    cache = concord.open_cache("data/cache/train.zarr")

    def interrupt(done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        concord.fit(cache, params.sae, params.train, run="runs/interrupted", progress=interrupt)
    concord.fit(
        cache, params.sae, params.train, run="runs/interrupted", progress=lambda done, _: seen.append(done)
    )
    assert len(seen) < 3
    assert (project / "runs/interrupted/model.safetensors").read_bytes() == (
        project / "runs/lucid/model.safetensors"
    ).read_bytes()


def test_fit_takes_the_sections_as_mappings_and_refuses_what_the_file_would(project: Path) -> None:
    cache = concord.open_cache(project / "data/cache/train.zarr")
    train = {"epochs": 1, "batch_pairs": 4, "device": "cpu"}
    pooled = concord.fit(cache, {"architecture": "vl_sae", "latents": 16, "k": 4}, train)
    assert type(pooled).__name__ == "VLSAE"
    with pytest.raises(concord.ConcordError, match=r"sae\.latent: no such option"):
        concord.fit(cache, {"latent": 16}, train)
    with pytest.raises(concord.ConcordError, match=r"train\.epochs: "):
        concord.fit(cache, None, {"epochs": -1})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_draws_every_pair_once(project: Path, workers: int) -> None:
    cache = concord.open_cache("data/cache/train.zarr")
    batches = list(concord.data_loader(cache, 5, seed=3, workers=workers))
    assert [len(batch.pair) for batch in batches] == [5, 5, 2]
    drawn = torch.cat([batch.pair for batch in batches]).tolist()
    assert sorted(drawn) == list(range(len(cache))) != drawn
    for batch in batches:
        for found, read in zip(batch, cache.read_pairs(batch.pair.numpy()), strict=True):
            assert torch.equal(found, read)


def test_a_data_set_is_indexed_pair_by_pair(project: Path) -> None:
    cache = concord.open_cache("data/cache/train.zarr")
    pairs = concord.CachedPairs(cache)
    assert len(pairs) == len(cache)
    assert torch.equal(pairs[3].vision_tokens, cache.read_pairs([3]).vision_tokens)
    with pytest.raises(IndexError):
        pairs[len(cache)]


@pytest.mark.parametrize(
    ("part", "columns"), [("all", slice(None)), ("shared", slice(8)), ("private", slice(8, None))]
)
def test_dense_codes_are_the_sparse_ones_written_out(project: Path, part: Part, columns: slice) -> None:
    sae, cache = concord.load_sae("runs/lucid"), concord.open_cache("data/cache/val.zarr")
    patches = cache.read_pairs([0, 1, 2]).vision_tokens
    mode = {"all": "full_joint"}.get(part, part)
    sparse = sae.encode("vision", patches.flatten(0, 1), mode)
    expected = torch.zeros(len(sparse.values), 32)
    for row, (values, latents) in enumerate(zip(*sparse, strict=True)):
        for value, latent in zip(values, latents, strict=True):
            expected[row, latent] += value
    found = concord.dense_codes(sae, "vision", patches, part)
    assert found.shape == (*patches.shape[:2], expected[:, columns].shape[1])
    assert torch.equal(found.flatten(0, 1), expected[:, columns])
    assert concord.directions(sae, "vision", part).shape == (found.shape[-1], patches.shape[-1])


def test_a_heat_map_has_the_code_of_every_patch_in_its_place(project: Path) -> None:
    sae, cache = concord.load_sae("runs/lucid"), concord.open_cache("data/cache/val.zarr")
    codes = concord.dense_codes(sae, "vision", cache.read_pairs([5]).vision_tokens[0])
    latent = int(codes.sum(dim=0).argmax())
    heat = concord.heat_map(sae, cache, 5, latent)
    assert heat.dtype == np.float32
    assert heat.tolist() == codes[:, latent].reshape(2, 2).tolist()
    with pytest.raises(concord.ConcordError, match="latent 8: the dictionary has the shared latents 0 to 7"):
        concord.heat_map(sae, cache, 5, 8)


def test_a_dictionary_is_saved_and_loaded_under_a_path_or_its_text(project: Path) -> None:
    sae = concord.load_sae("runs/lucid")
    concord.save_sae(sae, "runs/copy")
    copy = concord.load_sae(Path("runs/copy"))
    for name, tensor in sae.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor)
