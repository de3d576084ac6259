import json
import os
from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigError, RunError
from pipeline.sae.lucid import LucidOptions, LucidSAE
from pipeline.sae.registry import build_sae, load_sae, save_sae

OPTIONS = LucidOptions(latents=24, k_shared=3, k_private=2, gamma=0.25, guidance={"structural": False})


def some_sae() -> LucidSAE:
    sae = LucidSAE(OPTIONS, 6, 5, seed=2)
    sae.dictionary("text").scale.fill_(3.0)
    sae.activity["vision"].pairs_since_fired[4] = 7
    return sae


def test_a_saved_sae_loads_as_it_was_and_ready_for_evaluation(tmp_path: Path) -> None:
    sae = some_sae()
    save_sae(sae, tmp_path / "runs" / "lucid")
    loaded = load_sae(tmp_path / "runs" / "lucid")
    assert isinstance(loaded, LucidSAE) and not loaded.training
    assert loaded.options == OPTIONS
    assert (loaded.vision_channels, loaded.text_channels) == (6, 5)
    state, expected = loaded.state_dict(), sae.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_saving_twice_gives_identical_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    save_sae(some_sae(), tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_sae(some_sae(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert set(first) == {"model.safetensors", "config.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save_sae(some_sae(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"{name}: no such file; train"):
        load_sae(tmp_path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    save_sae(some_sae(), tmp_path)
    os.truncate(tmp_path / "model.safetensors", 100)
    with pytest.raises(RunError, match=r"model\.safetensors: not a saved SAE"):
        load_sae(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"options": {}}'])
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    save_sae(some_sae(), tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json: .*train the variant again"):
        load_sae(tmp_path)


def test_files_of_two_different_runs_are_refused(tmp_path: Path) -> None:
    save_sae(some_sae(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["options"]["k_shared"] = 4  # every tensor would still fit
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="different runs"):
        load_sae(tmp_path)


def test_plain_values_build_the_architecture_they_name() -> None:
    sae = build_sae({"architecture": "lucid", "latents": 24, "k_shared": 3, "k_private": 2}, 6, 5, seed=2)
    assert torch.equal(sae.state_dict()["dictionaries.text.decoder"], some_sae().dictionary("text").decoder)


@pytest.mark.parametrize("values", [{"architecture": "vae"}, {}])
def test_an_unknown_architecture_is_refused_with_those_there_are(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"no such SAE as .*; there are lucid"):
        build_sae(values, 6, 5)
